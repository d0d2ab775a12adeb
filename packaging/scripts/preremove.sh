#!/bin/sh
# Before the files of a version go. $1 is "remove" from dpkg, or "upgrade" and others where another
# version follows; from rpm it is the number of versions that stay.
set -e

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
	systemctl disable --now socktally.service socktally-once.timer || true
	systemctl stop socktally-once.service || true
fi
