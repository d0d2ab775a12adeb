#!/bin/sh
# After the files of a version are gone. $1 is "remove", "purge", "upgrade" and others from dpkg, and
# from rpm the number of versions that stay. Only a purge, which rpm does not have, removes the state.
set -e

case "$1" in
purge)
	# With DynamicUser= the first is a link to the second.
	rm -rf /var/lib/socktally /var/lib/private/socktally
	# The administrator's link that turned flows on leads to nothing now.
	link=/etc/systemd/system/socktally.service.d/flows.conf
	if [ "$(readlink "$link" || true)" = /usr/lib/socktally/flows.conf ]; then
		rm "$link"
		rmdir --ignore-fail-on-non-empty "${link%/*}"
	fi
	;;
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
fi
