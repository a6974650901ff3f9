// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Settlement} from "../src/Settlement.sol";
import {TokenVault} from "../src/TokenVault.sol";
import {Base, ReenteringToken} from "./Base.sol";

contract SettlementTest is Base {
    Settlement private hub;
    bytes32 private constant EPOCH = "epoch 1";
    bytes32 private constant ROOT = "root";
    uint64 private constant DELAY_S = 1 days;
    uint256 private deadline;

    function setUp() public {
        makeToken();
        hub = new Settlement(IERC20(address(usd)), DELAY_S);
        deadline = block.timestamp + 1 hours;
        address[3] memory people = [ann, bob, cat];
        for (uint256 i = 0; i < 3; ++i) {
            fund(people[i], address(hub), 100 * ONE);
            vm.prank(people[i]);
            hub.deposit(people[i], 100 * ONE);
        }
    }

    function one(address who, uint256 amount) private pure returns (Settlement.Movement[] memory made) {
        made = new Settlement.Movement[](1);
        made[0] = Settlement.Movement(who, amount);
    }

    function two(address a, uint256 x, address b, uint256 y)
        private
        pure
        returns (Settlement.Movement[] memory made)
    {
        made = new Settlement.Movement[](2);
        (made[0], made[1]) = a < b
            ? (Settlement.Movement(a, x), Settlement.Movement(b, y))
            : (Settlement.Movement(b, y), Settlement.Movement(a, x));
    }

    function sign1(uint256 key, Settlement.Movement[] memory debits, Settlement.Movement[] memory credits)
        private
        view
        returns (bytes[] memory made)
    {
        made = new bytes[](1);
        made[0] = signed(key, hub.settlementDigest(address(this), EPOCH, ROOT, 1, debits, credits, deadline));
    }

    function settle1(uint256 amount) private {
        Settlement.Movement[] memory debits = one(ann, amount);
        Settlement.Movement[] memory credits = one(bob, amount);
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, sign1(ANN, debits, credits));
    }

    function test_settling_moves_deposits_and_keeps_the_root() public {
        settle1(30 * ONE);
        vm.assertEq(hub.balanceOf(ann), 70 * ONE);
        vm.assertEq(hub.balanceOf(bob), 130 * ONE);
        (bytes32 root, uint64 number, uint32 count) = hub.epochOf(address(this), EPOCH);
        vm.assertEq(root, ROOT);
        vm.assertEq(number, block.number);
        vm.assertEq(count, 1);
    }

    function test_the_same_epoch_again_moves_nothing() public {
        settle1(30 * ONE);
        settle1(30 * ONE);
        vm.assertEq(hub.balanceOf(ann), 70 * ONE);
        Settlement.Movement[] memory none = new Settlement.Movement[](0);
        vm.expectRevert(abi.encodeWithSelector(Settlement.EpochConflict.selector, EPOCH, ROOT, 1));
        hub.settle(EPOCH, "other", 1, none, none, deadline, new bytes[](0));
    }

    function test_nobody_else_can_publish_it() public {
        Settlement.Movement[] memory debits = one(ann, ONE);
        Settlement.Movement[] memory credits = one(bob, ONE);
        bytes[] memory signatures = sign1(ANN, debits, credits);
        vm.prank(eve);
        vm.expectRevert(abi.encodeWithSelector(Settlement.BadSignature.selector, ann));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);
    }

    function test_a_publisher_can_change_nothing_that_was_signed() public {
        Settlement.Movement[] memory debits = one(ann, ONE);
        Settlement.Movement[] memory credits = one(bob, ONE);
        bytes[] memory signatures = sign1(ANN, debits, credits);
        bytes memory refusal = abi.encodeWithSelector(Settlement.BadSignature.selector, ann);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, debits, one(eve, ONE), deadline, signatures);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, one(ann, 2 * ONE), one(bob, 2 * ONE), deadline, signatures);
        vm.expectRevert(refusal);
        hub.settle("epoch 2", ROOT, 1, debits, credits, deadline, signatures);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, "other", 1, debits, credits, deadline, signatures);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 2, debits, credits, deadline, signatures);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline + 1, signatures);
    }

    function test_bad_signatures_are_refused() public {
        Settlement.Movement[] memory debits = one(ann, ONE);
        Settlement.Movement[] memory credits = one(bob, ONE);
        bytes memory refusal = abi.encodeWithSelector(Settlement.BadSignature.selector, ann);
        bytes[] memory forged = sign1(EVE, debits, credits);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, forged);
        bytes32 digest = hub.settlementDigest(address(this), EPOCH, ROOT, 1, debits, credits, deadline);
        forged[0] = highS(ANN, digest);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, forged);
        forged = sign1(ANN, debits, credits);
        vm.chainId(999);
        vm.expectRevert(refusal);
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, forged);
        vm.expectRevert(abi.encodeWithSelector(Settlement.WrongSignatureCount.selector, 1, 0));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, new bytes[](0));
    }

    function test_an_old_signature_expires() public {
        Settlement.Movement[] memory debits = one(ann, ONE);
        Settlement.Movement[] memory credits = one(bob, ONE);
        bytes[] memory signatures = sign1(ANN, debits, credits);
        vm.warp(deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(Settlement.Expired.selector, deadline));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);
    }

    function test_debits_and_credits_are_balanced_ordered_and_positive() public {
        Settlement.Movement[] memory debits = one(ann, ONE);
        Settlement.Movement[] memory credits = one(bob, 2 * ONE);
        bytes[] memory signatures = sign1(ANN, debits, credits);
        vm.expectRevert(abi.encodeWithSelector(Settlement.NotBalanced.selector, ONE, 2 * ONE));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);

        credits = one(bob, 0);
        signatures = sign1(ANN, debits, credits);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);

        credits = new Settlement.Movement[](2);
        (credits[0], credits[1]) = (Settlement.Movement(bob, ONE), Settlement.Movement(bob, ONE));
        signatures = sign1(ANN, debits, credits);
        vm.expectRevert(abi.encodeWithSelector(Settlement.Unordered.selector, bob));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);

        debits = credits;
        bytes[] memory pair = new bytes[](2);
        pair[0] = signed(BOB, hub.settlementDigest(address(this), EPOCH, ROOT, 1, debits, credits, deadline));
        pair[1] = pair[0];
        vm.expectRevert(abi.encodeWithSelector(Settlement.Unordered.selector, bob));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, pair);
    }

    function test_more_than_a_deposit_is_refused_as_a_whole() public {
        Settlement.Movement[] memory debits = one(ann, 101 * ONE);
        Settlement.Movement[] memory credits = one(bob, 101 * ONE);
        bytes[] memory signatures = sign1(ANN, debits, credits);
        vm.expectRevert(
            abi.encodeWithSelector(Settlement.InsufficientBalance.selector, ann, 100 * ONE, 101 * ONE)
        );
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);
        vm.assertEq(hub.balanceOf(ann), 100 * ONE);
        (bytes32 root,,) = hub.epochOf(address(this), EPOCH);
        vm.assertEq(root, bytes32(0));
    }

    function test_an_empty_tree_is_refused() public {
        Settlement.Movement[] memory none = new Settlement.Movement[](0);
        vm.expectRevert(Settlement.EmptyTree.selector);
        hub.settle(EPOCH, bytes32(0), 1, none, none, deadline, new bytes[](0));
        vm.expectRevert(Settlement.EmptyTree.selector);
        hub.settle(EPOCH, ROOT, 0, none, none, deadline, new bytes[](0));
    }

    function test_a_debtor_cannot_leave_before_it_is_settled() public {
        vm.startPrank(ann);
        hub.requestWithdrawal(100 * ONE);
        uint64 readyAt = uint64(block.timestamp) + DELAY_S;
        vm.expectRevert(abi.encodeWithSelector(Settlement.NotReady.selector, readyAt));
        hub.withdraw(ann);
        vm.stopPrank();
        settle1(30 * ONE);
        vm.warp(readyAt);
        vm.prank(ann);
        vm.assertEq(hub.withdraw(ann), 70 * ONE);
        vm.assertEq(usd.balanceOf(ann), 70 * ONE);
        vm.assertEq(hub.balanceOf(ann), 0);
    }

    function test_a_withdrawal_pays_once_and_only_what_is_there() public {
        vm.startPrank(ann);
        vm.expectRevert(
            abi.encodeWithSelector(Settlement.InsufficientBalance.selector, ann, 100 * ONE, 101 * ONE)
        );
        hub.requestWithdrawal(101 * ONE);
        vm.expectRevert(abi.encodeWithSelector(Settlement.NothingRequested.selector, ann));
        hub.withdraw(ann);
        hub.requestWithdrawal(40 * ONE);
        (uint128 amount, uint64 readyAt) = hub.withdrawalOf(ann);
        vm.assertEq(amount, 40 * ONE);
        vm.warp(readyAt);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        hub.withdraw(address(0));
        hub.withdraw(eve);
        vm.assertEq(usd.balanceOf(eve), 40 * ONE);
        vm.expectRevert(abi.encodeWithSelector(Settlement.NothingRequested.selector, ann));
        hub.withdraw(ann);
    }

    function test_a_debtor_drained_by_a_settlement_withdraws_nothing() public {
        vm.prank(ann);
        hub.requestWithdrawal(50 * ONE);
        settle1(100 * ONE);
        vm.warp(block.timestamp + DELAY_S);
        vm.prank(ann);
        vm.assertEq(hub.withdraw(ann), 0);
    }

    function test_deposits_for_others_and_their_bounds() public {
        usd.mint(ann, ONE);
        vm.startPrank(ann);
        hub.deposit(bob, ONE);
        vm.assertEq(hub.balanceOf(bob), 101 * ONE);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        hub.deposit(address(0), ONE);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        hub.deposit(ann, 0);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(Settlement.BadDelay.selector, 0));
        new Settlement(IERC20(address(usd)), 0);
        vm.expectRevert(abi.encodeWithSelector(Settlement.BadDelay.selector, 31 days));
        new Settlement(IERC20(address(usd)), 31 days);
    }

    function test_a_receipt_is_shown_to_be_in_the_epoch() public {
        bytes32 left = sha256(abi.encodePacked(bytes1(0), "a"));
        bytes32 right = sha256(abi.encodePacked(bytes1(0), "b"));
        bytes32 root = sha256(abi.encodePacked(bytes1(0x01), left, right));
        Settlement.Movement[] memory none = new Settlement.Movement[](0);
        hub.settle(EPOCH, root, 2, none, none, deadline, new bytes[](0));
        bytes32[] memory path = new bytes32[](1);
        path[0] = right;
        vm.assertTrue(hub.includes(address(this), EPOCH, "a", 0, path));
        vm.assertFalse(hub.includes(address(this), EPOCH, "b", 0, path));
        vm.assertFalse(hub.includes(eve, EPOCH, "a", 0, path));
        vm.assertFalse(hub.includes(address(this), EPOCH, "a", 0, new bytes32[](0)));
        vm.assertFalse(hub.includes(address(this), EPOCH, "a", 2, path));
    }

    function test_a_token_that_calls_back_withdraws_once() public {
        ReenteringToken token = new ReenteringToken();
        Settlement hit = new Settlement(IERC20(address(token)), DELAY_S);
        token.mint(ann, 10 * ONE);
        vm.startPrank(ann);
        hit.deposit(ann, 10 * ONE);
        hit.requestWithdrawal(5 * ONE);
        vm.stopPrank();
        vm.warp(block.timestamp + DELAY_S);
        token.aim(address(hit), abi.encodeCall(hit.withdraw, (ann)));
        vm.prank(ann);
        hit.withdraw(ann);
        vm.assertFalse(token.succeeded());
        vm.assertEq(token.balanceOf(ann), 5 * ONE);
    }

    function testFuzz_two_debtors_pay_what_they_signed(uint256 x, uint256 y, uint256 z) public {
        x = bound(x, 1, 100 * ONE);
        y = bound(y, 1, 100 * ONE);
        z = bound(z, 1, x + y - 1);
        Settlement.Movement[] memory debits = two(ann, x, bob, y);
        Settlement.Movement[] memory credits = two(cat, z, eve, x + y - z);
        bytes32 digest = hub.settlementDigest(address(this), EPOCH, ROOT, 9, debits, credits, deadline);
        bytes[] memory signatures = new bytes[](2);
        (signatures[0], signatures[1]) = ann < bob
            ? (signed(ANN, digest), signed(BOB, digest))
            : (signed(BOB, digest), signed(ANN, digest));
        hub.settle(EPOCH, ROOT, 9, debits, credits, deadline, signatures);
        vm.assertEq(hub.balanceOf(ann), 100 * ONE - x);
        vm.assertEq(hub.balanceOf(bob), 100 * ONE - y);
        vm.assertEq(hub.balanceOf(cat), 100 * ONE + z);
        vm.assertEq(hub.balanceOf(eve), x + y - z);
    }

    function testFuzz_nobody_is_debited_without_its_signature(uint256 key, uint256 amount) public {
        key = bound(key, 1, type(uint128).max);
        vm.assume(key != ANN);
        amount = bound(amount, 1, 100 * ONE);
        Settlement.Movement[] memory debits = one(ann, amount);
        Settlement.Movement[] memory credits = one(vm.addr(key), amount);
        bytes[] memory signatures = sign1(key, debits, credits);
        vm.expectRevert(abi.encodeWithSelector(Settlement.BadSignature.selector, ann));
        hub.settle(EPOCH, ROOT, 1, debits, credits, deadline, signatures);
    }
}
