#!/usr/bin/env bash
# Write the protocol's documents from its types. Refuses where a client of the present documents would break.
#   tools/write_schemas.sh [.venv/bin/triortc]
set -euo pipefail
cd "$(dirname "$0")/.."
triortc=${1:-.venv/bin/triortc}
mkdir -p docs/schema
if [ -f docs/schema/triortc.v1.json ]; then
  "$triortc" schema --changes docs/schema/triortc.v1.json || { echo "$0: these changes need a new version of the protocol" >&2; exit 1; }
fi
"$triortc" schema > docs/schema/triortc.v1.json.new
"$triortc" asyncapi > docs/schema/asyncapi.yaml.new
mv docs/schema/triortc.v1.json.new docs/schema/triortc.v1.json
mv docs/schema/asyncapi.yaml.new docs/schema/asyncapi.yaml
