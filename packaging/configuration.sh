#!/usr/bin/env bash
# configuration.sh [SECRETS] prints the configuration that packages bring: the
# example, with the state where packages have it, and the files of secrets in
# the directory SECRETS instead of /run/secrets.
set -euo pipefail
cd "$(dirname "$0")/.."
sed -E "s#^(  store: )\./data .*#\1/var/lib/ct2fluent#; s#/run/secrets#${1:-/run/secrets}#" docs/application-connector.example.yml
