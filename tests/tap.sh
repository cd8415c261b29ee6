# SPDX-License-Identifier: Apache-2.0
#
# What the shell tests share: their lines in the Test Anything Protocol. To be sourced, with a scratch folder in $work;
# at its end a test says `echo "1..$number"`, if it did not at its start, and `exit $failed`.

number=0
failed=0

# skip NAME WHY: one test that cannot be made here
skip()
{
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

# tap NAME COMMAND...: one test, which passes if the command does
tap()
{
	name=$1
	shift
	number=$((number + 1))
	if "$@" >"$work/said" 2>&1; then
		echo "ok $number - $name"
	else
		echo "not ok $number - $name"
		sed 's/^/# /' "$work/said"
		failed=1
	fi
}
