# SPDX-License-Identifier: Apache-2.0
#
# What the scripts of tools/ share (sourced by bash): saying what is done and how far it is, and running
# long commands quietly.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)

# One line on standard error, with the script's name.
say() {
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die() {
	say "$*"
	exit 1
}

# Prints the script's own head comment: the text of --help.
usage() {
	sed -n '/^# Usage:/,/^$/s/^# \{0,1\}//p' "$0"
}

# progress LABEL LOG PATTERN UNIT: until killed, says how long LABEL takes and how many lines of LOG match
# PATTERN; on a terminal in place, else a line every 20 seconds. It ends with the script, and its sleep keeps
# neither our output nor a lock open.
progress() {
	local start=$SECONDS every=20 end='\n'
	if [ -t 2 ]; then
		every=1
		end='\r'
	fi
	while sleep "$every" 2>/dev/null 8>&- 9>&- && kill -0 $$; do
		printf "%s: %s: %d s, %d %s   $end" "${0##*/}" "$1" $((SECONDS - start)) \
			"$(grep -cE -- "$3" "$2" 2>/dev/null)" "$4" >&2
	done
}

# run_logged LABEL LOG PATTERN UNIT COMMAND…: runs COMMAND with its output appended to LOG and progress said
# meanwhile; gives its status; a failure shows the log's last $tail_lines (30) lines. The command runs in the
# foreground, so that Ctrl-C reaches it.
run_logged() {
	local label=$1 log=$2 pattern=$3 unit=$4 ticker status start=$SECONDS
	shift 4
	progress "$label" "$log" "$pattern" "$unit" </dev/null >/dev/null &
	ticker=$!
	"$@" >>"$log" 2>&1 </dev/null
	status=$?
	kill "$ticker" 2>/dev/null
	wait "$ticker" 2>/dev/null
	if [ "$status" = 0 ]; then
		say "$label: done in $((SECONDS - start)) s"
	else
		say "$label: failed after $((SECONDS - start)) s; see $log"
		tail -n "${tail_lines:-30}" "$log" >&2
	fi
	return "$status"
}
