# Shared by ./lincow, ./test and ./bench: what they need is installed, lincow is built. To be sourced.

# Installs Debian packages that aren't there yet; only root can, anybody else is told what to ask for.
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        echo "lincow: these Debian packages are missing: ${missing[*]}. Install them with: sudo apt-get install ${missing[*]}" >&2
        return 1
    fi
    echo "installing ${missing[*]} ..." >&2
    if ! DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >/dev/null 2>&1; then
        apt-get update >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}" >&2
    fi
}

need_dotnet() {
    command -v dotnet >/dev/null && return 0
    echo "lincow: the .NET 10 SDK is missing. Get it from https://dotnet.microsoft.com/download (or your distribution's dotnet-sdk-10.0) and put dotnet on the PATH" >&2
    return 1
}

# A build is stale when any source is newer than the binary.
lincow_is_stale() {
    [ ! -x "$2" ] || [ -n "$(find "$1/src" "$1"/Directory.*.props "$1/global.json" -newer "$2" -not -path '*/obj/*' -not -path '*/bin/*' -type f -print -quit)" ]
}

# Packed relocations make a start a millisecond shorter; the loader knows them from glibc 2.36, the linker from binutils 2.38.
packs_relocations() {
    local libc
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) && [ "$(printf '%s\n2.36\n' "${libc#glibc }" | sort -V | head -n 1)" = 2.36 ] &&
        [[ $(ld --help 2>/dev/null) == *pack-relative-relocs* ]]
}

lincow_build() {
    local root=$1 binary=$2 log options=()
    need_dotnet
    command -v clang >/dev/null || command -v gcc >/dev/null || need_packages clang
    need_packages zlib1g-dev
    echo "building lincow (about a minute) ..." >&2
    log=$(mktemp)
    packs_relocations && options+=(-p:PackRelocations=true)
    if ! DOTNET_CLI_TELEMETRY_OPTOUT=1 DOTNET_NOLOGO=1 dotnet publish "$root/src/Lincow.Cli" -c Release -o "$root/artifacts/publish" "${options[@]}" >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
    cp "$root/artifacts/publish/lincow" "$binary.new"
    mv "$binary.new" "$binary"
    touch "$binary"
}
