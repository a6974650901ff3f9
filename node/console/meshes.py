"""Whole meshes on this machine: `swarmd demo`, `bench mesh`, `chaos run`. They bring their own arguments."""

from argparse import ArgumentParser

from swarmd.node.console.context import Context


def demo_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.demo.main import add_arguments

    add_arguments(parser)


def run_demo(ctx: Context) -> int:
    from swarmd.node.demo.main import main

    return main(ctx.args, ctx.out)


def bench_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.main import add_arguments

    add_arguments(parser)


def run_bench(ctx: Context) -> int:
    from swarmd.node.bench.main import main

    return main(ctx.args, ctx.out)


def bench_gossip_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.gossip_main import add_arguments

    add_arguments(parser)


def run_bench_gossip(ctx: Context) -> int:
    from swarmd.node.bench.gossip_main import main

    return main(ctx.args, ctx.out)


def bench_decide_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.decide_main import add_arguments

    add_arguments(parser)


def run_bench_decide(ctx: Context) -> int:
    from swarmd.node.bench.decide_main import main

    return main(ctx.args, ctx.out)


def bench_heal_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.heal import add_arguments

    add_arguments(parser)


def run_bench_heal(ctx: Context) -> int:
    from swarmd.node.bench.heal import main

    return main(ctx.args, ctx.out)


def bench_growth_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.growth import add_arguments

    add_arguments(parser)


def run_bench_growth(ctx: Context) -> int:
    from swarmd.node.bench.growth import main

    return main(ctx.args, ctx.out)


def bench_idle_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.idle import add_arguments

    add_arguments(parser)


def run_bench_idle(ctx: Context) -> int:
    from swarmd.node.bench.idle import main

    return main(ctx.args, ctx.out)


def bench_hour_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.hour import add_arguments

    add_arguments(parser)


def run_bench_hour(ctx: Context) -> int:
    from swarmd.node.bench.hour import main

    return main(ctx.args, ctx.out)


def bench_curves_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.curves import add_arguments

    add_arguments(parser)


def run_bench_curves(ctx: Context) -> int:
    from swarmd.node.bench.curves import main

    return main(ctx.args, ctx.out)


def bench_policy_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.policy import add_arguments

    add_arguments(parser)


def run_bench_policy(ctx: Context) -> int:
    from swarmd.node.bench.policy import main

    return main(ctx.args, ctx.out)


def bench_state_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.state_main import add_arguments

    add_arguments(parser)


def run_bench_state(ctx: Context) -> int:
    from swarmd.node.bench.state_main import main

    return main(ctx.args, ctx.out)


def bench_content_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.content import add_arguments

    add_arguments(parser)


def run_bench_content(ctx: Context) -> int:
    from swarmd.node.bench.content import main

    return main(ctx.args, ctx.out)


def bench_peers_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.peers.main import add_arguments

    add_arguments(parser)


def run_bench_peers(ctx: Context) -> int:
    from swarmd.node.bench.peers.main import main

    return main(ctx.args, ctx.out)


def bench_money_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.money import add_arguments

    add_arguments(parser)


def run_bench_money(ctx: Context) -> int:
    from swarmd.node.bench.money import main

    return main(ctx.args, ctx.out)


def chaos_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.chaos.main import add_arguments

    add_arguments(parser)


def run_chaos(ctx: Context) -> int:
    from swarmd.node.chaos.main import main

    return main(ctx.args, ctx.out)


def run_bench_start(ctx: Context) -> int:
    from swarmd.node.bench.start import main

    return main(ctx.args.runs, ctx.out)


def bench_all_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.table_main import add_arguments

    add_arguments(parser)


def run_bench_all(ctx: Context) -> int:
    from swarmd.node.bench.table_main import main

    return main(ctx.args, ctx.out)


def bench_compare_arguments(parser: ArgumentParser) -> None:
    from swarmd.node.bench.table_main import add_compare_arguments

    add_compare_arguments(parser)


def run_bench_compare(ctx: Context) -> int:
    from swarmd.node.bench.table_main import main_compare

    return main_compare(ctx.args, ctx.out)


def run_bench_dashboard(ctx: Context) -> int:
    from swarmd.node.bench.dashboard import main

    return main(ctx.args.needs, ctx.args.runs, ctx.out)
