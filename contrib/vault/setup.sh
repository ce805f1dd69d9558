#!/bin/sh
# An intermediate CA in Vault's PKI engine, for Countersign. Not run in CI.
#
# Needs `vault`, logged in with a token that may do all this, and `jq`. The root here is in Vault too; take yours if you have one.
set -eu
vault secrets enable -path=prod-root pki
vault secrets tune -max-lease-ttl=87600h prod-root
vault write prod-root/root/generate/internal common_name="Production root" key_type=ec key_bits=256 ttl=87600h

vault secrets enable -path=prod pki
vault secrets tune -max-lease-ttl=43800h prod
vault write -format=json prod/intermediate/generate/internal common_name="Production CA" key_type=ec key_bits=256 \
    | jq -r .data.csr >prod.csr
vault write -format=json prod-root/root/sign-intermediate csr=@prod.csr format=pem ttl=43800h \
    | jq -r .data.certificate >prod.pem
vault write prod/intermediate/set-signed certificate=@prod.pem

# One role for each service: it gives this name and no other. The key of a request has to be Ed25519.
vault write prod/roles/db \
    key_type=ed25519 \
    allowed_uri_sans=spiffe://prod/db \
    allow_any_name=false \
    require_cn=false \
    key_usage=DigitalSignature \
    server_flag=true \
    client_flag=true \
    no_store=true \
    ttl=24h \
    max_ttl=24h

# What peers trust: the root, for --ca.
vault read -field=certificate prod-root/cert/ca >ca.crt
