#!/bin/sh
# A handler of ct2fluent in shell: a line of JSON in, a line of JSON out. It
# notes the id and version of each customer in the file that PUSHED names.
while IFS= read -r line; do
	seq=${line#'{"seq":'} # it always comes first
	seq=${seq%%,*}
	type=${line#*'"typeId":"'}
	type=${type%%'"'*}
	id=${line#*'"resource":"'}
	id=${id%%'"'*}
	version=${line#*'"version":'}
	version=${version%%,*}
	if [ "$type" != customer ]; then
		answer='"outcome":"skip","reason":"no-customer"'
	elif printf '%s %s\n' "$id" "$version" >>"${PUSHED:-/dev/null}"; then
		answer='"outcome":"written"'
	else
		answer='"outcome":"unavailable","why":"the file cannot be written"'
	fi
	printf '{"seq":%s,%s}\n' "$seq" "$answer"
done
