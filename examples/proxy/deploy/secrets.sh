#!/usr/bin/env bash
# Makes the secrets of compose.yaml in the folder `secrets`, once; what is there is left alone.
#
#     UPSTREAM_KEY=sk-… bash secrets.sh
#
# They belong to the user of the image (65532), who alone may read them: run it as root, or in
# `podman unshare`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
umask 077
mkdir -p secrets
random() { head -c 32 /dev/urandom | base64 | tr -d '/+=\n'; }
keep() { [[ -e "secrets/$1" ]] || { cat >"secrets/$1.new" && mv "secrets/$1.new" "secrets/$1"; }; }

random | keep admin-token
random | keep caller-key
random | keep database-password
printf 'postgres://proxy:%s@database/proxy\n' "$(cat secrets/database-password)" | keep database
printf '%s\n' "${UPSTREAM_KEY:-none}" | keep upstream-key
# A sealing key is 32 random bytes; without it nothing in the database that is sealed can be read.
head -c 32 /dev/urandom | base64 | keep keys
chmod 0400 secrets/*
chmod 0444 secrets/database-password
chown -R 65532:65532 secrets
