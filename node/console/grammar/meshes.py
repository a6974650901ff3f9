"""Whole meshes on this machine: demo, bench, chaos."""

from swarmd.node.console.grammar.values import positive
from swarmd.node.console.parser import Commands, later


def add(commands: Commands) -> None:
    demo = commands.add(
        "demo",
        "meshes:run_demo",
        "run a mesh of five daemons here and take a need through it",
        "swarmd demo --json",
        "Exit code 0 only if the result is right, no money is lost and all nodes agree.",
    )
    demo.fill = later("meshes:demo_arguments")
    demo.set_defaults(starts_processes=True)
    bench = commands.group("bench", "measure a mesh on this machine", "swarmd bench mesh --tasks 500 --json")
    bench.parent.set_defaults(starts_processes=True)
    mesh = bench.add(
        "mesh",
        "meshes:run_bench",
        "start a mesh of daemon processes and put tasks through it",
        "swarmd bench mesh --nodes 4 --tasks 500 --json",
        "Exit code 1 if a task was lost or the nodes do not agree.",
    )
    mesh.fill = later("meshes:bench_arguments")
    gossip = bench.add(
        "gossip",
        "meshes:run_bench_gossip",
        "send envelopes between real transports, beside libp2p as it ships",
        "swarmd bench gossip --nodes 5 --rate 4000 --json",
        "Each node is a process of its own; all publish unless --publishers says otherwise. Latency is from when\n"
        "an envelope was due to when another node had verified and decoded it. Exit code 1 if one got lost.",
    )
    gossip.fill = later("meshes:bench_gossip_arguments")
    decide = bench.add(
        "decide",
        "meshes:run_bench_decide",
        "measure how long needs wait for their decision, by signatures alone and with etcd as the arbiter",
        "swarmd bench decide --rate 200 --seconds 15 --json",
        "An open loop: needs come when they are due, whether or not earlier ones are decided, and the wait is from then "
        "to the signed time of the DECIDE. Exit code 1 if one was not decided, or decided twice.",
    )
    decide.fill = later("meshes:bench_decide_arguments")
    heal = bench.add(
        "heal",
        "meshes:run_bench_heal",
        "part five daemons 2|3 in network namespaces, and measure how soon they agree again",
        "swarmd bench heal --json",
        "Linux, root and nftables, as swarmd chaos run. Counts from when the network lets everything through to one digest of\n"
        "the mesh on all five. Exit code 1 if a need was decided twice, money was made or lost, or any other property broken.",
    )
    heal.fill = later("meshes:bench_heal_arguments")
    growth = bench.add(
        "growth",
        "meshes:run_bench_growth",
        "measure what two daemons keep in memory and on disk while needs come without a pause",
        "swarmd bench growth --seconds 300 --json",
        "Short epochs and small bounds, so that all that is ever let go is let go within minutes. Prints the sizes as each\n"
        "epoch begins, and their slopes in the last third.",
    )
    growth.fill = later("meshes:bench_growth_arguments")
    hour = bench.add(
        "hour",
        "meshes:run_bench_hour",
        "measure what a node keeps in memory and on disk while its mesh does 1,000 tasks a second for a simulated hour",
        "swarmd bench hour --tasks-per-s 1000 --seconds 3600 --json",
        "Takes as long as 22 million envelopes take this machine: 600 simulated seconds are a minute to a few of them.\n"
        "Needs gigabytes of disk (TMPDIR). Ctrl-C ends it with what there is so far, and exit code 130.",
    )
    hour.fill = later("meshes:bench_hour_arguments")
    policy = bench.add(
        "policy",
        "meshes:run_bench_policy",
        "measure evaluations of a policy",
        "swarmd bench policy --json",
        "Beside it the same rules in Python and, if @open-policy-agent/opa-wasm is installed, in node.",
    )
    policy.fill = later("meshes:bench_policy_arguments")
    state = bench.add(
        "state",
        "meshes:run_bench_state",
        "measure receiving, appending, syncing and asking with a long history",
        "swarmd bench state --json",
        "Histories are made once and kept in the user's cache folder. Figures of one core are CPU time, the others\n"
        "by the clock. Exit code 1 if a task got lost, or two nodes differ after their sync.",
    )
    state.fill = later("meshes:bench_state_arguments")
    content = bench.add(
        "content",
        "meshes:run_bench_content",
        "measure the store of content, beside SHA-256, the disk and kubo",
        "swarmd bench content --megabytes 2000 --json",
        "Import counts until everything is on disk; export reads and hashes every byte. Without a kubo its figures are "
        "null.",
    )
    content.fill = later("meshes:bench_content_arguments")
    money = bench.add(
        "money",
        "meshes:run_bench_money",
        "measure vouchers, and the gas that netting saves",
        "swarmd bench money --payments 1000 --parties 20 --json",
        "Every payment is made twice on an EVM here, as a transfer and netted, and the balances are compared.",
    )
    money.fill = later("meshes:bench_money_arguments")
    api = bench.add(
        "api",
        "api:run_bench",
        "measure requests to the HTTP API of a daemon while its mesh works",
        "swarmd bench api --rate 200 --seconds 20 --json",
        "An open loop: requests begin when they are due, and latencies count from then. Exit code 1 if a bound was missed.",
    )
    api.fill = later("api:bench_arguments")
    start = bench.add(
        "start",
        "meshes:run_bench_start",
        "measure how quickly commands answer, and how long a newcomer takes to a finished need",
        "swarmd bench start --runs 20 --json",
        "Each run is a process of its own. Exit code 1 if the need did not finish.",
    )
    start.add_argument("--runs", type=positive, default=20, metavar="N", help="of each quick command (20)")
    idle = bench.add(
        "idle",
        "meshes:run_bench_idle",
        "measure what a daemon costs that has joined and has nothing to do, and how soon it is there again",
        "swarmd bench idle --agents 10 --history 1000 --json",
        "Two daemons do --history needs first. One is then started anew, after kill -9 and after an orderly stop. Exit code 1\n"
        "if a need got lost; a goal that is missed is a figure.",
    )
    idle.fill = later("meshes:bench_idle_arguments")
    peers = bench.add(
        "peers",
        "meshes:run_bench_peers",
        "measure the same need through NATS with etcd, Celery with Redis, and Ray, beside swarmd",
        "swarmd bench peers --only nats,swarmd --rounds 3 --json",
        "Starts their brokers on loopback and ends them; a system whose programs are not installed is named and left out. Their\n"
        "Python packages come from PyPI the first time, into the user's cache folder. Exit code 1 if one failed, or gave or\n"
        "recorded a wrong result.",
    )
    peers.fill = later("meshes:bench_peers_arguments")
    curves = bench.add(
        "curves",
        "meshes:run_bench_curves",
        "measure what a task costs as nodes, stored needs, payloads and agents grow, and plot it",
        "swarmd bench curves --curves nodes --sizes 2,4,8 --plot docs/img --json",
        "Each point is a mesh of daemon processes. 100,000 stored needs take a quarter of an hour to make, a million hours.\n"
        "Exit code 1 if a need was not done.",
    )
    curves.fill = later("meshes:bench_curves_arguments")
    everything = bench.add(
        "all",
        "meshes:run_bench_all",
        "run all benchmarks and write one table of goals and figures",
        "swarmd bench all --suites policy,money --to bench.json --table bench.md",
        "Takes tens of minutes, and a machine that does nothing else. Exit code 1 if a benchmark failed; a goal that\n"
        "is missed is a row of the table.",
    )
    everything.fill = later("meshes:bench_all_arguments")
    compare = bench.add(
        "compare",
        "meshes:run_bench_compare",
        "measure another commit and this one in turn",
        "swarmd bench compare HEAD~5 --suites receive --rounds 3",
        "From a checkout with git. A ratio above 1: this one is better.",
    )
    compare.fill = later("meshes:bench_compare_arguments")
    dashboard = bench.add(
        "dashboard",
        "meshes:run_bench_dashboard",
        "measure how long a browser waits for the first view of a node with many needs",
        "swarmd bench dashboard --needs 10000 --json",
        "Needs Chromium, and a checkout with its tools (make setup). Exit code 1 if the median is over 300 ms.",
    )
    dashboard.add_argument(
        "--needs", type=positive, default=10_000, metavar="N", help="in its history (10000)"
    )
    dashboard.add_argument("--runs", type=positive, default=15, metavar="N", help="views, each uncached (15)")
    chaos = commands.group(
        "chaos", "real daemons while things go wrong", "swarmd chaos run --minutes 1 --seed 7"
    )
    chaos.parent.set_defaults(starts_processes=True)
    run = chaos.add(
        "run",
        "meshes:run_chaos",
        "run a mesh in network namespaces, break things, judge its journals",
        "swarmd chaos run --minutes 1 --nodes 3 --seed 7",
        "Needs root on Linux. Exit code 1 if a property was violated.",
    )
    run.fill = later("meshes:chaos_arguments")
