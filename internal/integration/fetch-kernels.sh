#!/bin/bash
# Downloads Debian's kernels for the tests: fetch-kernels.sh FOLDER SUITE/FLAVOUR..., where linux-image-FLAVOUR
# is the package, as in trixie/cloud-amd64 and trixie/arm64-16k.
# Each becomes FOLDER/SUITE/FLAVOUR/vmlinuz and, in modules beside it, the modules of networks and
# ciphers, with what modprobe needs to find them. The mirror is that of this machine's own apt sources, which
# stay as they are.
set -euo pipefail
folder=$1
shift
# shellcheck disable=SC2016 # apt-get expands it
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | grep -v security | head -n 1)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# depends PACKAGE PATTERN: the first dependency of PACKAGE that matches PATTERN.
depends() { apt-cache "${apt[@]}" depends "$1" | awk -v p="$2" '$1 == "Depends:" && $2 ~ p { print $2; exit }'; }

for kernel in "$@"; do
	root=$folder/$kernel
	if [ -s "$root/vmlinuz" ]; then continue; fi
	rm -rf "$root"
	mkdir -p "$root/lists/partial" "$root/cache/archives/partial"
	echo "deb [signed-by=$keyring] $mirror ${kernel%/*} main" >"$root/sources.list"
	case $kernel in
	*arm64*) arch=arm64 ;;
	*) arch=amd64 ;;
	esac
	apt=(
		-qq -o Dir::Etc::sourcelist="$root/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$root/lists" -o Dir::Cache="$root/cache" -o Dir::State::status=/dev/null
		-o APT::Sandbox::User=root -o APT::Architecture="$arch" -o APT::Architectures::="$arch"
	)
	apt-get "${apt[@]}" update
	package=$(depends "linux-image-${kernel#*/}" '^linux-image-[0-9]')
	# Newer kernels have the image itself in a package of its own.
	binary=$(depends "$package" '^linux-binary-')
	(cd "$root" && apt-get "${apt[@]}" download "${binary:-$package}")
	dpkg-deb -x "$root"/linux-*.deb "$root/package"
	for tree in "$root"/package/lib/modules/* "$root"/package/usr/lib/modules/*; do
		if [ ! -d "$tree/kernel" ]; then continue; fi
		kept=$root/modules/lib/modules/$(basename "$tree")
		mkdir -p "$kept/kernel/drivers/net"
		cp "$tree"/modules.* "$kept"
		cp -r "$tree"/kernel/{arch,crypto,lib,net} "$kept/kernel"
		cp "$tree"/kernel/drivers/net/{dummy,veth}.ko* "$kept/kernel/drivers/net"
		/sbin/depmod -b "$root/modules" "$(basename "$tree")"
	done
	find "$root/package" -name 'vmlinuz*' -type f -exec mv {} "$root/vmlinuz.part" ';'
	rm -rf "$root/lists" "$root/cache" "$root"/*.deb "$root/package"
	mv "$root/vmlinuz.part" "$root/vmlinuz"
	echo "$kernel: ${binary:-$package}"
done
