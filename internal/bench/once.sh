#!/bin/bash
# What a crontab would do without socktally: read sockstat and sockstat6 with awk and send the
# fields as DogStatsD lines. The reference of internal/bench.
# Usage: once.sh udp|curl HOST PORT. curl speaks no UDP, so that it posts the same lines by HTTP.
set -euo pipefail
way=$1 host=$2 port=$3

lines=$(awk '
	{
		protocol = tolower(substr($1, 1, length($1) - 1))
		for (i = 2; i < NF; i += 2) {
			unit = $i == "mem" ? 4 : 1 # KiB a page, as on most machines
			printf "sockstat.%s.%s:%d|g|#env:bench\n", protocol, $i, $(i + 1) * unit
		}
	}' /proc/net/sockstat /proc/net/sockstat6)

case $way in
udp) printf '%s\n' "$lines" >"/dev/udp/$host/$port" ;;
curl) curl --silent --fail --max-time 5 --output /dev/null --data-binary "$lines" "http://$host:$port/" ;;
*) exit 2 ;;
esac
