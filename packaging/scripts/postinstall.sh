#!/bin/sh
# After the files of a version are in place. $1 is "configure" from dpkg, with the version before in
# $2 if there was one; from rpm it is the number of versions now installed. The service is neither
# enabled nor started here: that is for who has looked at the settings.
set -e

upgraded=
case "$1" in
configure) upgraded=$2 ;;
[0-9]*) if [ "$1" -gt 1 ]; then upgraded=yes; fi ;;
*) exit 0 ;; # dpkg takes back a removal: nothing was changed
esac

if [ -d /run/systemd/system ]; then
	systemctl daemon-reload
	if [ -n "$upgraded" ]; then
		# One that runs goes on with the new version, one that does not stays so.
		systemctl try-restart socktally.service || true
	fi
fi
