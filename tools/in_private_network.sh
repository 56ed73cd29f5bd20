#!/usr/bin/env bash
# Run a command in a network namespace of its own: loopback and one veth pair, no way out. Needs root.
#   tools/in_private_network.sh .venv/bin/pytest tests/browsers
# The second interface (10.77.0.1) is for Firefox, which offers no candidate on loopback alone.
set -euo pipefail
if [ $# -eq 0 ]; then
  echo "usage: $0 COMMAND [ARGUMENT…]" >&2
  exit 2
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "$0: a private network namespace needs root; try: sudo $0 $*" >&2
  exit 1
fi
exec unshare --net -- bash -euo pipefail -c '
  ip link set lo up
  ip link add d0 type veth peer name d1
  ip addr add 10.77.0.1/24 dev d0
  ip link set d0 up
  ip link set d1 up
  ip route add default dev d0
  exec "$@"
' in_private_network "$@"
