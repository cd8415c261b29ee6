#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Packed weights between runs as a user sees them: cli/weights_cache.py.

command -v python3 >/dev/null || { echo "1..0 # SKIP no python3"; exit 77; }
PYTHONDONTWRITEBYTECODE=1 exec python3 "$OCTANT_SOURCE_DIR/tests/cli/weights_cache.py"
