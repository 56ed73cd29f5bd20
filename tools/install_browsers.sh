#!/usr/bin/env bash
# Install what `make test` needs beside Python: Chromium, Firefox, FFmpeg's tools, OpenSSL, systemd-analyze, iproute2,
# and clang with libFuzzer. By apt, as root.
set -euo pipefail
missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v firefox-esr >/dev/null || missing+=(firefox-esr)
command -v ffprobe >/dev/null || missing+=(ffmpeg)
command -v openssl >/dev/null || missing+=(openssl)
command -v systemd-analyze >/dev/null || missing+=(systemd)
command -v ip >/dev/null || missing+=(iproute2)
fuzzer() { echo 'int LLVMFuzzerTestOneInput() { return 0; }' | clang -fsanitize=fuzzer,address -x c - -o /dev/null 2>/dev/null; }
fuzzer || missing+=(clang libclang-rt-dev)
[ ${#missing[@]} -eq 0 ] && exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "make test needs these programs: ${missing[*]}" >&2
  echo "install them (on Debian: apt-get install ${missing[*]}), or run make test as root, or run make unit" >&2
  exit 1
fi
echo "installing ${missing[*]}"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
