#!/bin/sh
# Check, test and compile every policy: policies/NAME/NAME.rego -> policies/NAME/NAME.wasm
#
#   policies/build.sh           rebuild the shipped wasm
#   policies/build.sh --check   rebuild aside and fail if the bytes differ from those shipped
#   policies/build.sh --tool    only install the pinned opa
#   policies/build.sh --cases   compile the WASM test cases that the opa project publishes, for tests/policy
#
# The compiler is pinned and installed under .tools/ (git-ignored). OPA embeds the path of each source file in
# the module, so it is always called from policies/ with the same relative paths.
set -eu

OPA_VERSION=v1.22.0
# The entrypoints of every policy, sorted: their numbers follow this order.
ENTRYPOINTS="swarm/policy/verdict"
COVERAGE=95

cd "$(dirname "$0")"
tools=$(cd .. && pwd)/.tools
opa=$tools/bin/opa-$OPA_VERSION

mode=${1:-}
case $mode in
"" | --check | --tool | --cases) ;;
*) echo "usage: policies/build.sh [--check | --tool | --cases]" >&2 && exit 2 ;;
esac

if [ ! -x "$opa" ]; then
	command -v go >/dev/null || {
		echo "policies/build.sh: opa is built with go (1.26 or later), which is not on the PATH" >&2
		exit 3
	}
	echo "installing opa $OPA_VERSION under .tools/"
	GOBIN=$tools/install go install "github.com/open-policy-agent/opa@$OPA_VERSION"
	mkdir -p "$tools/bin"
	mv "$tools/install/opa" "$opa"
	rmdir "$tools/install"
fi
[ "$mode" != --tool ] || exit 0

if [ "$mode" = --cases ]; then
	# Cases and compiler are of one version and one module, whose hash the Go checksum database vouches for.
	cases=$tools/opa-cases-$OPA_VERSION.tar.gz
	[ ! -f "$cases" ] || exit 0
	GOBIN=$tools/install go install "github.com/open-policy-agent/opa/v1/test/wasm/cmd/wasm-rego-testgen@$OPA_VERSION"
	found=$(go env GOMODCACHE)/github.com/open-policy-agent/opa@$OPA_VERSION/v1/test/wasm/assets
	"$tools/install/wasm-rego-testgen" --input-dir "$found" --runner "$found/test.js" --output "$cases.tmp"
	mv "$cases.tmp" "$cases"
	rm -r "$tools/install"
	exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT INT TERM

# uses NAME: the source files of the policies that NAME builds on, from its line "# uses: A, B".
uses() {
	sed -n 's/^# uses: //p' "$1/$1.rego" | tr -d ' ' | tr ',' '\n' | sed 's|.*|&/&.rego|'
}

# covered NAME: fail unless the tests cover NAME.rego itself; what it uses has tests of its own.
covered() {
	python3 - "$scratch/$1.coverage" "$1/$1.rego" "$COVERAGE" <<-'END'
		import json, sys
		report, name, least = json.load(open(sys.argv[1])), sys.argv[2], float(sys.argv[3])
		found = report["files"].get(name, {})
		gaps = [f"{gap['start']['row']}-{gap['end']['row']}" for gap in found.get("not_covered", ())]
		if gaps and found.get("coverage", 0) < least:  # a file without rules has neither
		    sys.exit(f"{name}: {found.get('coverage', 0)} % covered, {least} % needed; not lines {', '.join(gaps)}")
	END
}

failed=0
for folder in */; do
	name=${folder%/}
	[ -f "$name/$name.rego" ] || continue
	sources=$(uses "$name")
	# shellcheck disable=SC2086 # a word for each source
	"$opa" check --strict "$name" $sources
	"$opa" fmt --diff --fail "$name"
	# The folder's samples are data of its tests: data.samples.allowed and data.samples.denied.
	# shellcheck disable=SC2086
	"$opa" test --coverage "$name" $sources >"$scratch/$name.coverage" || {
		# shellcheck disable=SC2086
		"$opa" test --verbose "$name" $sources
		exit 1
	}
	covered "$name"
	set --
	for entrypoint in $ENTRYPOINTS; do
		set -- "$@" --entrypoint "$entrypoint"
	done
	# No -O: the optimiser takes data that is not in the bundle for undefined and folds its rules away.
	# shellcheck disable=SC2086
	"$opa" build --target wasm "$@" --output "$scratch/$name.tar.gz" $sources "$name/$name.rego"
	tar -xzf "$scratch/$name.tar.gz" -C "$scratch" /policy.wasm 2>/dev/null # warns that it drops the /
	mv "$scratch/policy.wasm" "$scratch/$name.wasm"
	if [ "$mode" = --check ]; then
		cmp "$scratch/$name.wasm" "$name/$name.wasm" || failed=1
	else
		install -m 0644 "$scratch/$name.wasm" "$name/$name.wasm"
	fi
	printf '%s  %s.wasm\n' "$(sha256sum <"$scratch/$name.wasm" | cut -d' ' -f1)" "$name"
done
if [ "$failed" = 1 ]; then
	echo "policies/build.sh: the shipped wasm is not what the rego compiles to; run policies/build.sh" >&2
	exit 1
fi
