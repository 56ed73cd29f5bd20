#!/usr/bin/env bash
# Lint and type-check. With file names: ruff on those only and mypy on those; without: everything.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
[ -d .build/links/triortc ] && [ $# -gt 0 ] || "$bin/python" tools/link_tree.py >/dev/null
if [ $# -gt 0 ]; then
  "$bin/ruff" check "$@"
  "$bin/ruff" format --check "$@"
  files=(); for f in "$@"; do case $f in engine/*|codecs/*|signaling/*|bench/*|triortc/*) f=${f#triortc/}; files+=(".build/links/triortc/$f");; *) files+=("$f");; esac; done
  MYPYPATH=.build/links:tests "$bin/mypy" --explicit-package-bases "${files[@]}"
else
  "$bin/ruff" check .
  "$bin/ruff" format --check .
  MYPYPATH=.build/links:tests "$bin/mypy" --explicit-package-bases --namespace-packages .build/links/triortc $(git ls-files -co --exclude-standard "tests/*.py" "tools/*.py")
  (cd .build/links && PYTHONPATH=. "../../$bin/lint-imports" --config ../../pyproject.toml)
fi
