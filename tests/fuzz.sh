#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Damage by chance to every kind of file: cli/fuzz.py.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
PYTHONDONTWRITEBYTECODE=1 exec python3 "$OCTANT_SOURCE_DIR/tests/cli/fuzz.py"
