#!/usr/bin/env bash
# Tests of the contracts: format, unit, fuzz and invariant tests with the gas snapshot, line coverage, slither.
# usage: contracts/check.sh SLITHER     after `npm ci`, offline. SLITHER is the program, "" skips it.
set -euo pipefail
cd "$(dirname "$0")"
slither=$1
least_percent=95
# The packages of the programs themselves: that around them asks for platforms that npm does not have. Elsewhere
# than on Linux amd64 a forge of version 1.7.1 has to be on the PATH.
export PATH=$PWD/node_modules/@foundry-rs/forge-linux-amd64/bin:$PATH

forge fmt --check
# Each call's gas is compared with snapshots/gas.json.
FORGE_SNAPSHOT_CHECK=true forge test

# A line such as: | src/Escrow.sol | 99.23% (129/130) | ...
# Without the optimizer, hence other gas: not for the snapshot.
FORGE_SNAPSHOT_EMIT=false forge coverage --no-match-contract GasTest --report summary | tee /dev/stderr | awk -F '|' -v least="$least_percent" '
  $2 ~ /^ src\// { seen++; if ($3 + 0 < least) { print "coverage:" $2 "has" $3 "of lines, " least " % are needed"; low = 1 } }
  END { if (!seen) print "coverage: no contract was seen"; exit low || !seen }'

if [[ -n $slither ]]; then
  # Its parser cannot read parts of OpenZeppelin 5.7 (EIP712.sol) and says so on the way; the findings are ours.
  "$slither" . --config-file slither.config.json
fi
