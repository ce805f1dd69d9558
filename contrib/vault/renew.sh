#!/bin/sh
# A certificate by Vault for the Ed25519 key in FOLDER, which is made if there is none and never leaves the machine. Not run in CI.
#
# renew.sh ROLE URI FOLDER
#
# Run it from a timer, at half of the certificate's life: see contrib/systemd. Needs `vault`, `jq` and `openssl`.
set -eu
[ $# = 3 ] || { echo "usage: renew.sh ROLE URI FOLDER" >&2; exit 2; }
role=$1
uri=$2
folder=$3
umask 077
mkdir -p "$folder"
[ -e "$folder/tls.key" ] || openssl genpkey -algorithm ed25519 -out "$folder/tls.key"
openssl req -new -key "$folder/tls.key" -subj / -addext "subjectAltName=URI:$uri" -out "$folder/request.csr"
# The certificate first, then the intermediate; the root, which Vault puts at the end of ca_chain, is not sent.
vault write -format=json "prod/sign/$role" csr=@"$folder/request.csr" uri_sans="$uri" ttl=24h \
    | jq -er '.data.certificate, .data.issuing_ca' >"$folder/tls.crt.new"
# Whole or not at all: whoever watches the file never sees half of it.
mv "$folder/tls.crt.new" "$folder/tls.crt"
