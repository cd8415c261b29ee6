# SPDX-License-Identifier: Apache-2.0
#
# Builds StarPU into a prefix (sourced by tools/setup, after tools/common.sh). The source is Debian's newest
# package of the 1.4 series, from the package mirror that this machine uses already, or a tarball of the user's.
#
# A prefix is made in three steps, so that it is either complete or absent, whoever builds at the same time:
# lock its name; configure for the final path, build beside it and install into a staging folder there; rename.
# Its name carries a hash of all that decides its contents; PREFIX/share/octant/starpu tells them in words.

# Accepted without a valid signature (a Debian older than sid's keys): the very files that were tested.
starpu_known_sha256='
9d4d7d904232f6888a0bb23d446d8073b6c4d094beb95ef20d31fd179c6bc199  starpu_1.4.10+dfsg-2.dsc
6b3bb9ec0d79f937882148b2da09ae6cb0ad4d1e83a104be45723dd70eba99c3  starpu_1.4.10+dfsg.orig.tar.gz
6b7f8a94dac20a34a53d9c2f3d0c509fb38c91bb3b267dea02f654e04a822117  starpu_1.4.10+dfsg-2.debian.tar.xz
'

# starpu_options FLAVOUR CUDA: configure's options, one a line. Only what Octant uses is built; the limits are
# those of the largest plan, since "auto" takes the build machine's. CUDA workers poll, so that flavour's workers
# must not block; without CUDA they do, so that an idle worker leaves its core to others.
starpu_options() {
	printf '%s\n' --disable-static --disable-build-doc --disable-build-examples --disable-build-tests \
		--disable-opencl --disable-hip --disable-mpi --disable-starpufft --disable-socl --disable-starpupy \
		--disable-fortran --enable-maxbuffers=16 --enable-maxcudadev=16 --enable-maxnodes=32 --enable-maxcpus=64
	if pkg-config --exists fxt; then echo --with-fxt; else echo --disable-fxt; fi
	case $1 in
	cpu)	printf '%s\n' --disable-cuda --enable-blocking-drivers ;;
	cuda)	printf '%s\n' --enable-cuda "--with-cuda-dir=$2" --disable-blocking-drivers ;;
	sim)	echo --enable-simgrid ;;
	esac
}

# starpu_patch FLAVOUR: in the source folder. CUDA 13 removed cudaDeviceProp.computeMode; the attribute exists in
# every CUDA. Where the text is another one, the source is left as it is.
starpu_patch() {
	[ "$1" = cuda ] || return 0
	sed -i 's/^\tif (props\[devid\]\.computeMode == cudaComputeModeExclusive)$/\tint compute_mode = 0;\n\tcudaDeviceGetAttribute(\&compute_mode, cudaDevAttrComputeMode, devid);\n\tif (compute_mode == cudaComputeModeExclusive)/' \
		src/drivers/cuda/driver_cuda.c src/drivers/cuda/driver_cuda1.c
}

# starpu_recipe FLAVOUR CUDA SOURCE: all that decides what is built.
starpu_recipe() {
	starpu_options "$1" "$2"
	declare -f starpu_patch
	(. /etc/os-release && echo "$ID $VERSION_ID $(uname -m)")
	if [ "$1" = cuda ]; then "$2/bin/nvcc" --version | tail -n 2; fi
	if [ "$1" = sim ]; then pkg-config --modversion simgrid; fi
	if [ -n "$3" ]; then sha256sum <"$3"; fi
}

# starpu_mirror: the address of the Debian archive in this machine's apt configuration, whichever form that has.
starpu_mirror() {
	apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
		awk -v codename="$(. /etc/os-release && echo "$VERSION_CODENAME")" '
			$1 == codename || $1 ~ /^(stable|oldstable|testing|unstable|sid)$/ { print $2; exit }'
}

# starpu_fetch: Debian's source files into the current folder, through an apt folder of its own: sid is never
# added to the machine's sources. Prints how the files were verified; apt's words go to ./log.
starpu_fetch() {
	local mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg apt how='signature of the Debian archive'
	mirror=$(starpu_mirror)
	[ -n "$mirror" ] || {
		say "the apt configuration names no Debian archive to take StarPU's source from; give --with-starpu=PREFIX or --starpu-source=FILE"
		return 1
	}
	mkdir -p apt/lists/partial apt/cache/archives/partial
	echo "deb-src [signed-by=$keyring] $mirror sid main" >apt/sources.list
	apt=(apt-get -q -o Dir::Etc::sourcelist="$PWD/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
		-o Dir::State::lists="$PWD/apt/lists" -o Dir::Cache="$PWD/apt/cache"
		-o APT::Sandbox::User=root -o APT::Update::Error-Mode=any -o Acquire::Retries=3)
	if "${apt[@]}" update >>log 2>&1; then
		"${apt[@]}" source --only-source --download-only starpu >>log 2>&1
	else
		say "no verified package list; taking only files of known checksums"
		how='known checksums (the signature could not be verified)'
		"${apt[@]}" -o Acquire::AllowInsecureRepositories=true update >>log 2>&1 &&
			"${apt[@]}" --allow-unauthenticated source --only-source --download-only starpu >>log 2>&1 &&
			sed '/^$/d' <<<"$starpu_known_sha256" | sha256sum --check --quiet >>log 2>&1
	fi || {
		say "StarPU's source could not be had or verified; give --with-starpu=PREFIX or --starpu-source=FILE. What apt says:"
		tail -n 10 log >&2
		return 1
	}
	rm -rf apt
	echo "$how"
}

# starpu_unpack SOURCE: the source into ./starpu, the way it was had and its checksums into ./origin.
starpu_unpack() {
	local how
	if [ -n "$1" ]; then
		mkdir starpu && tar xf "$1" -C starpu --strip-components=1 || return 1
		{
			echo "source: ${1##*/}, named by the user"
			sha256sum "$1" | sed 's|/.*/||'
		} >origin
	else
		how=$(starpu_fetch) || return 1
		# apt has verified the files; the maintainer's own signature needs a keyring that few machines have
		dpkg-source --no-check -x starpu_*.dsc starpu >>log 2>&1 || return 1
		{
			echo "source: Debian source package, verified by $how"
			sha256sum starpu_*
		} >origin
	fi
}

# starpu_find FLAVOUR HASH CACHE: the newest complete prefix of that recipe, or nothing.
starpu_find() {
	local found
	found=$(ls -d "$3"/starpu-1.4.*-"$1-$2" 2>/dev/null | sort -V | tail -n 1)
	if [ -n "$found" ] && [ -f "$found/share/octant/starpu" ]; then echo "$found"; fi
}

# starpu_make FLAVOUR CUDA SOURCE HASH CACHE PREFIX JOBS, in an empty folder of the same file system as the prefix:
# builds, and moves the result to PREFIX, or to its name in CACHE when PREFIX is empty. Prints the prefix.
starpu_make() {
	local flavour=$1 cuda=$2 source=$3 hash=$4 cache=$5 prefix=$6 jobs=$7 version options
	# the prefix is shared: nothing of one caller's environment may shape it
	unset CC CXX CFLAGS CXXFLAGS CPPFLAGS LDFLAGS LIBS MAKEFLAGS MAKELEVEL CONFIG_SITE
	say "getting StarPU's source"
	starpu_unpack "$source" || return 1
	version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'$/\1/p" starpu/configure)
	case $version in
	1.4.[1-9][0-9]*) ;;
	*)	say "the source is StarPU ${version:-of an unknown version}; Octant needs 1.4.10 or newer, below 1.5: give one as --starpu-source=FILE or --with-starpu=PREFIX"
		return 1 ;;
	esac
	: "${prefix:=$cache/starpu-$version-$flavour-$hash}"
	(cd starpu && starpu_patch "$flavour") || return 1
	mapfile -t options < <(starpu_options "$flavour" "$cuda")
	mkdir build && cd build || return 1
	run_logged "configuring StarPU $version ($flavour)" ../log '^checking' checks \
		../starpu/configure --prefix="$prefix" "${options[@]}" || return 1
	run_logged "building StarPU $version ($flavour)" ../log '^  (CC|NVCC|CXX) ' 'files compiled (of about 200)' \
		make -j"$jobs" V=0 || return 1
	run_logged "installing StarPU $version ($flavour)" ../log '^ /' files \
		make install DESTDIR="$PWD/../stage" || return 1
	cd .. && mkdir -p "stage$prefix/share/octant" && {
		echo "StarPU $version ($flavour) for Octant"
		cat origin
		echo "configure: ${options[*]}"
		echo "compiler: $(gcc --version | head -n 1)"
		echo "recipe: $hash"
	} >"stage$prefix/share/octant/starpu" && mkdir -p "${prefix%/*}" && mv -T "stage$prefix" "$prefix" || return 1
	echo "$prefix"
}

# starpu_prefix FLAVOUR CUDA SOURCE CACHE PREFIX JOBS: the prefix, built if need be.
starpu_prefix() {
	local flavour=$1 cuda=$2 source=$3 cache=$4 prefix=$5 jobs=$6 hash parent found
	hash=$(starpu_recipe "$flavour" "$cuda" "$source" | sha256sum | cut -c 1-12)
	parent=${prefix:+${prefix%/*}}
	: "${parent:=$cache}"
	case $parent$prefix in
	*[[:space:]]*)
		say "StarPU cannot be built in a folder with blanks in its name ($parent); choose another with --prefix=DIR"
		return 1 ;;
	esac
	mkdir -p "$parent" || return 1
	(
		exec 9>"$parent/.octant-starpu-$flavour-$hash.lock"
		flock -n 9 || {
			say "waiting for another build of the same StarPU"
			flock 9
		}
		if [ -n "$prefix" ]; then
			if grep -qx "recipe: $hash" "$prefix/share/octant/starpu" 2>/dev/null; then
				echo "$prefix"
				exit 0
			fi
			rmdir "$prefix" 2>/dev/null
			if [ -e "$prefix" ]; then
				say "$prefix is in the way: it is not this StarPU; move it away or choose another --prefix"
				exit 1
			fi
		else
			found=$(starpu_find "$flavour" "$hash" "$cache")
			if [ -n "$found" ]; then
				echo "$found"
				exit 0
			fi
		fi
		work=$(mktemp -d "$parent/.octant-starpu-XXXXXX") || exit 1
		trap 'rm -rf "$work"' EXIT
		trap 'exit 130' INT TERM
		cd "$work" && starpu_make "$flavour" "$cuda" "$source" "$hash" "$cache" "$prefix" "$jobs" && exit 0
		cp "$work/log" "$parent/starpu-$flavour-failed.log" 2>/dev/null &&
			say "the whole log: $parent/starpu-$flavour-failed.log"
		exit 1
	)
}
