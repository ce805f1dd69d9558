#!/bin/sh
# The first key and certificate of a service from step-ca, and their renewal. Not run in CI.
#
# enroll.sh spiffe://prod/db FOLDER
#
# Needs `step`, with a CA that it knows (`step ca bootstrap`) and a provisioner that may give the name.
set -eu
[ $# = 2 ] || { echo "usage: enroll.sh URI FOLDER" >&2; exit 2; }
uri=$1
folder=$2
umask 077
mkdir -p "$folder"
# Without a passphrase, as nobody is there to type one; the folder is for the service alone. The key is PKCS#8.
step ca certificate "$uri" "$folder/tls.crt" "$folder/tls.key" \
    --san "$uri" --kty OKP --curve Ed25519 --not-after 24h
step ca root "$folder/ca.crt"
# Goes on and renews the certificate, with the same key, when half of its life is over. `countersign serve` sees the new file by itself.
exec step ca renew --daemon --expires-in 12h "$folder/tls.crt" "$folder/tls.key"
