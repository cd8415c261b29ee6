#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Kills, interrupts and full disks, and going on after them: cli/resume.py.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
PYTHONDONTWRITEBYTECODE=1 exec python3 "$OCTANT_SOURCE_DIR/tests/cli/resume.py"
