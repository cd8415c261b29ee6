#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# What bad input gets, through the command line: cli/bad_input.py.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
PYTHONDONTWRITEBYTECODE=1 exec python3 "$OCTANT_SOURCE_DIR/tests/cli/bad_input.py"
