// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Escrow} from "../src/Escrow.sol";
import {PaymentChannel} from "../src/PaymentChannel.sol";
import {Settlement} from "../src/Settlement.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";
import {Base} from "./Base.sol";

// Random sequences of calls by random people. A handler makes each call a sensible one, so that none reverts, keeps
// its own books, and counts as `stolen` whatever left somebody without that person's signature or call.

abstract contract Handler is Base {
    address[] internal people;
    uint256[] internal keys = [ANN, BOB, CAT, EVE];
    uint256 public stolen;

    function everybody(address spender) internal {
        for (uint256 i = 0; i < keys.length; ++i) {
            address who = vm.addr(keys[i]);
            people.push(who);
            fund(who, spender, 1_000_000 * ONE);
        }
    }

    function later(uint256 seconds_) external {
        vm.warp(block.timestamp + bound(seconds_, 1, 3 days));
    }
}

contract ChannelHandler is Handler {
    PaymentChannel public channels;
    bytes32[] public ids;
    uint256 public paidIn;
    uint256 public paidOut;
    mapping(bytes32 => uint256) private _signed; // the highest cumulative the payer signed
    mapping(bytes32 => uint256) private _keyOf;

    constructor() {
        makeToken();
        channels = new PaymentChannel(IERC20(address(usd)));
        everybody(address(channels));
    }

    function open(uint256 who, uint256 amount) external {
        uint256 payer = who % 4;
        amount = bound(amount, 1, 1_000 * ONE);
        vm.prank(people[payer]);
        bytes32 id = channels.open(people[(payer + 1 + who % 3) % 4], bytes32(ids.length), amount, 1 days);
        _keyOf[id] = keys[payer];
        ids.push(id);
        paidIn += amount;
    }

    function topUp(uint256 which, uint256 amount) external {
        (bytes32 id, PaymentChannel.Channel memory channel) = pick(which);
        if (channel.payer == address(0) || channel.closed || channel.closesAt != 0) return;
        amount = bound(amount, 1, 1_000 * ONE);
        vm.prank(channel.payer);
        channels.topUp(id, amount);
        paidIn += amount;
    }

    function claim(uint256 which, uint256 cumulative, bool closing) external {
        (bytes32 id, PaymentChannel.Channel memory channel) = pick(which);
        if (channel.payer == address(0) || channel.closed || channel.claimed == channel.deposit) return;
        cumulative = bound(cumulative, uint256(channel.claimed) + 1, channel.deposit);
        if (cumulative > _signed[id]) _signed[id] = cumulative;
        bytes memory signature = signed(_keyOf[id], channels.voucherDigest(id, cumulative));
        uint256 before = usd.balanceOf(address(channels));
        if (closing) {
            vm.prank(channel.payee);
            channels.close(id, cumulative, signature);
        } else {
            channels.claim(id, cumulative, signature);
        }
        paidOut += before - usd.balanceOf(address(channels));
        if (channels.channelOf(id).claimed > _signed[id]) ++stolen;
    }

    function close(uint256 which) external {
        (bytes32 id, PaymentChannel.Channel memory channel) = pick(which);
        if (channel.payer == address(0) || channel.closed) return;
        if (channel.closesAt == 0 || block.timestamp < channel.closesAt) {
            vm.prank(channel.payer);
            channels.startClose(id);
            return;
        }
        uint256 before = usd.balanceOf(channel.payer);
        channels.finish(id);
        uint256 back = usd.balanceOf(channel.payer) - before;
        paidOut += back;
        if (back + channel.claimed != channel.deposit) ++stolen;
    }

    function pick(uint256 which) private view returns (bytes32 id, PaymentChannel.Channel memory channel) {
        if (ids.length == 0) return (id, channel);
        id = ids[which % ids.length];
        channel = channels.channelOf(id);
    }

    function locked() external view returns (uint256 sum) {
        for (uint256 i = 0; i < ids.length; ++i) {
            PaymentChannel.Channel memory channel = channels.channelOf(ids[i]);
            if (!channel.closed) sum += channel.deposit - channel.claimed;
        }
    }

    function held() external view returns (uint256) {
        return usd.balanceOf(address(channels));
    }
}

contract SettlementHandler is Handler {
    Settlement public hub;
    mapping(address => int256) public expected;
    uint256 private _epoch;

    constructor() {
        makeToken();
        hub = new Settlement(IERC20(address(usd)), 1 days);
        everybody(address(hub));
    }

    function deposit(uint256 who, uint256 to, uint256 amount) external {
        amount = bound(amount, 1, 1_000 * ONE);
        vm.prank(people[who % 4]);
        hub.deposit(people[to % 4], amount);
        expected[people[to % 4]] += int256(amount);
    }

    function settle(uint256 from, uint256 to, uint256 amount) external {
        address debtor = people[from % 4];
        uint256 balance = hub.balanceOf(debtor);
        if (balance == 0) return;
        Settlement.Movement[] memory debits = new Settlement.Movement[](1);
        Settlement.Movement[] memory credits = new Settlement.Movement[](1);
        debits[0] = Settlement.Movement(debtor, bound(amount, 1, balance));
        credits[0] = Settlement.Movement(people[to % 4], debits[0].amount);
        bytes32 epoch = bytes32(++_epoch);
        bytes[] memory signatures = new bytes[](1);
        uint256 until = block.timestamp;
        signatures[0] = signed(
            keys[from % 4], hub.settlementDigest(address(this), epoch, "root", 1, debits, credits, until)
        );
        hub.settle(epoch, "root", 1, debits, credits, until, signatures);
        hub.settle(epoch, "root", 1, debits, credits, until, signatures); // again: nothing
        expected[debtor] -= int256(debits[0].amount);
        expected[people[to % 4]] += int256(debits[0].amount);
    }

    function steal(uint256 from, uint256 thief, uint256 amount) external {
        address victim = people[from % 4];
        if (from % 4 == thief % 4) return;
        Settlement.Movement[] memory debits = new Settlement.Movement[](1);
        Settlement.Movement[] memory credits = new Settlement.Movement[](1);
        debits[0] = Settlement.Movement(victim, bound(amount, 1, 1_000 * ONE));
        credits[0] = Settlement.Movement(people[thief % 4], debits[0].amount);
        bytes32 epoch = bytes32(++_epoch);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signed(
            keys[thief % 4],
            hub.settlementDigest(address(this), epoch, "root", 1, debits, credits, block.timestamp)
        );
        try hub.settle(epoch, "root", 1, debits, credits, block.timestamp, signatures) {
            ++stolen;
        } catch {}
    }

    function request(uint256 who, uint256 amount) external {
        address account = people[who % 4];
        uint256 balance = hub.balanceOf(account);
        if (balance == 0) return;
        vm.prank(account);
        hub.requestWithdrawal(bound(amount, 1, balance));
    }

    function withdraw(uint256 who) external {
        address account = people[who % 4];
        (uint128 amount, uint64 readyAt) = hub.withdrawalOf(account);
        if (readyAt == 0 || block.timestamp < readyAt) return;
        vm.prank(account);
        uint256 got = hub.withdraw(account);
        if (got > amount) ++stolen;
        expected[account] -= int256(got);
    }

    function wrongBalances() external view returns (uint256 wrong) {
        for (uint256 i = 0; i < 4; ++i) {
            if (int256(hub.balanceOf(people[i])) != expected[people[i]]) ++wrong;
        }
    }

    function balances() external view returns (uint256 sum) {
        for (uint256 i = 0; i < 4; ++i) {
            sum += hub.balanceOf(people[i]);
        }
    }

    function held() external view returns (uint256) {
        return usd.balanceOf(address(hub));
    }
}

contract EscrowHandler is Handler {
    Escrow public escrow;
    bytes32[] public ids;

    constructor() {
        makeToken();
        escrow = new Escrow(IERC20(address(usd)), address(this), 50);
        everybody(address(escrow));
    }

    function open(uint256 who, uint256 amount) external {
        uint256 payer = who % 4;
        uint64 deadline = uint64(block.timestamp) + 5 days;
        vm.prank(people[payer]);
        ids.push(
            escrow.open(
                bytes32(ids.length),
                people[(payer + 1) % 4],
                people[(payer + 2) % 4],
                bound(amount, 1, 1_000 * ONE),
                deadline,
                1 days,
                "terms"
            )
        );
    }

    /// @dev Anybody tries anything on any deal; what the rules refuse is no failure here.
    function act(uint256 which, uint256 who, uint256 what, uint256 amount) external {
        if (ids.length == 0) return;
        bytes32 id = ids[which % ids.length];
        Escrow.Deal memory deal = escrow.dealOf(id);
        address caller = people[who % 4];
        bytes[10] memory calls = [
            abi.encodeCall(escrow.accept, (id)),
            abi.encodeCall(escrow.submit, (id, "cid")),
            abi.encodeCall(escrow.release, (id, bound(amount, 1, 1_000 * ONE))),
            abi.encodeCall(escrow.claim, (id)),
            abi.encodeCall(escrow.refund, (id)),
            abi.encodeCall(escrow.reclaim, (id)),
            abi.encodeCall(escrow.dispute, (id, "evidence")),
            abi.encodeCall(escrow.resolve, (id, bound(amount, 0, deal.amount))),
            abi.encodeCall(escrow.split, (id)),
            abi.encodeCall(escrow.cancel, (id))
        ];
        vm.prank(caller);
        (bool done,) = address(escrow).call(calls[what % 10]);
        bool isParty = caller == deal.payer || caller == deal.payee || caller == deal.arbiter;
        if (done && !isParty && what % 10 != 8) ++stolen;
        if (done && escrow.dealOf(id).held > deal.held) ++stolen;
    }

    function withdraw(uint256 who) external {
        address account = people[who % 4];
        if (escrow.creditOf(account) == 0) return;
        vm.prank(account);
        escrow.withdraw(account);
    }

    function owed() external view returns (uint256 sum) {
        for (uint256 i = 0; i < ids.length; ++i) {
            sum += escrow.dealOf(ids[i]).held;
        }
        for (uint256 i = 0; i < 4; ++i) {
            sum += escrow.creditOf(people[i]);
        }
        sum += escrow.creditOf(address(this));
    }

    function held() external view returns (uint256) {
        return usd.balanceOf(address(escrow));
    }
}

contract StakeHandler is Handler {
    StakeRegistry public registry;
    uint256 private _offence;

    constructor() {
        makeToken();
        address[] memory roster = new address[](1);
        roster[0] = vm.addr(777);
        registry = new StakeRegistry(IERC20(address(usd)), address(0x7EA5), 7 days, roster, 1);
        everybody(address(registry));
    }

    function stake(uint256 who, uint256 amount) external {
        vm.prank(people[who % 4]);
        registry.stake(people[who % 4], bound(amount, 1, 1_000 * ONE));
    }

    function unbond(uint256 who, uint256 amount) external {
        (uint128 bonded,,) = registry.stakeOf(people[who % 4]);
        if (bonded == 0) return;
        vm.prank(people[who % 4]);
        registry.unbond(bound(amount, 1, bonded));
    }

    function withdraw(uint256 who) external {
        (, uint128 unbonding, uint64 readyAt) = registry.stakeOf(people[who % 4]);
        if (unbonding == 0 || block.timestamp < readyAt) return;
        vm.prank(people[who % 4]);
        registry.withdraw(people[who % 4]);
    }

    function slash(uint256 who, uint256 amount, bool forged) external {
        address account = people[who % 4];
        (uint128 bonded, uint128 unbonding,) = registry.stakeOf(account);
        if (uint256(bonded) + unbonding == 0) return;
        bytes32 offence = bytes32(++_offence);
        amount = bound(amount, 1, 2_000 * ONE);
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signed(forged ? 778 : 777, registry.slashDigest(account, amount, offence));
        if (!forged) {
            registry.slash(account, amount, offence, signatures);
            return;
        }
        try registry.slash(account, amount, offence, signatures) {
            ++stolen;
        } catch {}
    }

    function payTreasury() external {
        if (registry.slashedTotal() > 0) registry.payTreasury();
    }

    function owed() external view returns (uint256 sum) {
        for (uint256 i = 0; i < 4; ++i) {
            (uint128 bonded, uint128 unbonding,) = registry.stakeOf(people[i]);
            sum += uint256(bonded) + unbonding;
        }
        sum += registry.slashedTotal();
    }

    function held() external view returns (uint256) {
        return usd.balanceOf(address(registry));
    }
}

contract InvariantsTest is Base {
    ChannelHandler private channels;
    SettlementHandler private settlement;
    EscrowHandler private escrow;
    StakeHandler private stakes;

    function setUp() public {
        channels = new ChannelHandler();
        settlement = new SettlementHandler();
        escrow = new EscrowHandler();
        stakes = new StakeHandler();
    }

    /// @dev What forge calls at random: the handlers and nothing else.
    function targetContracts() external view returns (address[] memory targets) {
        targets = new address[](4);
        targets[0] = address(channels);
        targets[1] = address(settlement);
        targets[2] = address(escrow);
        targets[3] = address(stakes);
    }

    function invariant_each_contract_holds_exactly_what_it_owes() public view {
        vm.assertEq(channels.held(), channels.locked(), "channels");
        vm.assertEq(channels.held(), channels.paidIn() - channels.paidOut(), "channels in and out");
        vm.assertEq(settlement.held(), settlement.balances(), "settlement");
        vm.assertEq(settlement.wrongBalances(), 0, "settlement books");
        vm.assertEq(escrow.held(), escrow.owed(), "escrow");
        vm.assertEq(stakes.held(), stakes.owed(), "stakes");
        uint256 thefts = channels.stolen() + settlement.stolen() + escrow.stolen() + stakes.stolen();
        vm.assertEq(thefts, 0, "moved by somebody else");
    }
}
