#!/bin/bash
# Downloads Debian kernels for TestOtherKernels: fetch-kernels.sh FOLDER SUITE...
# Each becomes FOLDER/SUITE/vmlinuz, with the modules of sock_diag beside it where they are not
# compressed, as in 5.10, which needs them. The mirror is that of this machine's own apt sources, which stay
# as they are.
set -euo pipefail
folder=$1
shift
# shellcheck disable=SC2016 # apt-get expands it
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# depends PACKAGE PATTERN: the first dependency of PACKAGE that matches PATTERN.
depends() { apt-cache "${apt[@]}" depends "$1" | awk -v p="$2" '$1 == "Depends:" && $2 ~ p { print $2; exit }'; }

for suite in "$@"; do
	root=$folder/$suite
	if [ -s "$root/vmlinuz" ]; then continue; fi
	rm -rf "$root"
	mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
	echo "deb [signed-by=$keyring] $mirror $suite main" >"$root/sources.list"
	apt=(
		-qq -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$root/lists" -o Dir::Cache="$root/cache" -o Dir::State::status=/dev/null
		-o APT::Sandbox::User=root
	)
	apt-get "${apt[@]}" update
	package=$(depends linux-image-cloud-amd64 '^linux-image-[0-9]')
	# Newer kernels have the image itself in a package of its own.
	binary=$(depends "$package" '^linux-binary-')
	(cd "$root" && apt-get "${apt[@]}" download "${binary:-$package}")
	dpkg-deb --fsys-tarfile "$root"/linux-*.deb >"$root/package.tar"
	tar -x -O -f "$root/package.tar" --wildcards '*/vmlinuz*' >"$root/vmlinuz.part"
	for module in inet_diag tcp_diag; do
		if ! tar -x -O -f "$root/package.tar" --wildcards "*/net/ipv4/$module.ko" >"$root/$module.ko" 2>"$root/tar.log"; then
			rm "$root/$module.ko"
		fi
	done
	rm -rf "$root/lists" "$root/cache" "$root"/*.deb "$root/package.tar" "$root/tar.log"
	mv "$root/vmlinuz.part" "$root/vmlinuz"
	echo "$suite: ${binary:-$package}"
done
