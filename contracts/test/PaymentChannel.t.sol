// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {PaymentChannel} from "../src/PaymentChannel.sol";
import {TokenVault} from "../src/TokenVault.sol";
import {Base, FalseToken, FeeToken, ReenteringToken} from "./Base.sol";

contract PaymentChannelTest is Base {
    PaymentChannel private channels;
    bytes32 private id;
    uint32 private constant CHALLENGE_S = 1 days;
    uint256 private constant DEPOSIT = 100 * ONE;

    function setUp() public {
        makeToken();
        channels = new PaymentChannel(IERC20(address(usd)));
        fund(ann, address(channels), 1_000 * ONE);
        vm.prank(ann);
        id = channels.open(bob, "1", DEPOSIT, CHALLENGE_S);
    }

    function voucher(uint256 key, uint256 cumulative) private view returns (bytes memory) {
        return signed(key, channels.voucherDigest(id, cumulative));
    }

    function test_open_locks_the_deposit() public view {
        PaymentChannel.Channel memory channel = channels.channelOf(id);
        vm.assertEq(id, channels.idOf(ann, bob, "1"));
        vm.assertEq(channel.payer, ann);
        vm.assertEq(channel.payee, bob);
        vm.assertEq(channel.deposit, DEPOSIT);
        vm.assertEq(usd.balanceOf(address(channels)), DEPOSIT);
    }

    function test_open_refuses_what_makes_no_sense() public {
        vm.startPrank(ann);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        channels.open(address(0), "2", 1, CHALLENGE_S);
        vm.expectRevert(PaymentChannel.SelfChannel.selector);
        channels.open(ann, "2", 1, CHALLENGE_S);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        channels.open(bob, "2", 0, CHALLENGE_S);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 1 << 128));
        channels.open(bob, "2", 1 << 128, CHALLENGE_S);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.BadChallengePeriod.selector, 1 minutes));
        channels.open(bob, "2", 1, 1 minutes);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.BadChallengePeriod.selector, 31 days));
        channels.open(bob, "2", 1, 31 days);
    }

    function test_an_id_is_used_once_even_after_the_close() public {
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelExists.selector, id));
        channels.open(bob, "1", 1, CHALLENGE_S);
        vm.prank(bob);
        channels.close(id, 0, "");
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelExists.selector, id));
        channels.open(bob, "1", 1, CHALLENGE_S);
    }

    function test_claims_pay_the_difference_whoever_brings_them() public {
        channels.claim(id, 10 * ONE, voucher(ANN, 10 * ONE));
        vm.assertEq(usd.balanceOf(bob), 10 * ONE);
        vm.prank(eve); // a watchtower
        channels.claim(id, 25 * ONE, voucher(ANN, 25 * ONE));
        vm.assertEq(usd.balanceOf(bob), 25 * ONE);
        vm.assertEq(usd.balanceOf(eve), 0);
        vm.assertEq(channels.channelOf(id).claimed, 25 * ONE);
    }

    function test_a_voucher_pays_once() public {
        bytes memory paid = voucher(ANN, 10 * ONE);
        channels.claim(id, 10 * ONE, paid);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.StaleVoucher.selector, 10 * ONE, 10 * ONE));
        channels.claim(id, 10 * ONE, paid);
        bytes memory older = voucher(ANN, 9 * ONE);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.StaleVoucher.selector, 9 * ONE, 10 * ONE));
        channels.claim(id, 9 * ONE, older);
    }

    function test_a_forged_high_s_or_foreign_signature_is_refused() public {
        bytes32 digest = channels.voucherDigest(id, ONE);
        bytes[4] memory bad = [voucher(EVE, ONE), highS(ANN, digest), new bytes(65), bytes("")];
        for (uint256 i = 0; i < bad.length; ++i) {
            vm.expectRevert(PaymentChannel.BadSignature.selector);
            channels.claim(id, ONE, bad[i]);
        }
        bytes memory forLess = signed(ANN, digest);
        vm.expectRevert(PaymentChannel.BadSignature.selector);
        channels.claim(id, 2 * ONE, forLess);
    }

    function test_a_signature_for_another_chain_is_refused() public {
        bytes memory here = voucher(ANN, ONE);
        vm.chainId(999);
        vm.expectRevert(PaymentChannel.BadSignature.selector);
        channels.claim(id, ONE, here);
    }

    function test_a_signature_for_another_contract_or_channel_is_refused() public {
        PaymentChannel other = new PaymentChannel(IERC20(address(usd)));
        bytes memory foreign = signed(ANN, other.voucherDigest(id, ONE));
        vm.expectRevert(PaymentChannel.BadSignature.selector);
        channels.claim(id, ONE, foreign);
        vm.prank(ann);
        bytes32 second = channels.open(cat, "1", ONE, CHALLENGE_S);
        bytes memory ours = voucher(ANN, ONE);
        vm.expectRevert(PaymentChannel.BadSignature.selector);
        channels.claim(second, ONE, ours);
    }

    function test_a_voucher_above_the_deposit_waits_for_a_top_up() public {
        bytes memory high = voucher(ANN, DEPOSIT + 1);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ExceedsDeposit.selector, DEPOSIT + 1, DEPOSIT));
        channels.claim(id, DEPOSIT + 1, high);
        vm.prank(ann);
        channels.topUp(id, ONE);
        channels.claim(id, DEPOSIT + 1, high);
        vm.assertEq(usd.balanceOf(bob), DEPOSIT + 1);
    }

    function test_only_the_payer_tops_up_and_not_while_closing() public {
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.NotPayer.selector, bob));
        channels.topUp(id, 1);
        vm.startPrank(ann);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        channels.topUp(id, 0);
        channels.startClose(id);
        uint64 closesAt = uint64(block.timestamp) + CHALLENGE_S;
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelClosing.selector, id, closesAt));
        channels.topUp(id, 1);
    }

    function test_a_top_up_does_not_overflow() public {
        usd.mint(ann, 1 << 128);
        vm.startPrank(ann);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, type(uint128).max + DEPOSIT));
        channels.topUp(id, type(uint128).max);
    }

    function test_the_payer_closes_after_the_challenge_period() public {
        vm.prank(eve);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.NotPayer.selector, eve));
        channels.startClose(id);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChallengeRuns.selector, id, 0));
        channels.finish(id);
        vm.prank(ann);
        channels.startClose(id);
        uint64 closesAt = channels.channelOf(id).closesAt;
        vm.warp(closesAt - 1);
        vm.prank(ann);
        channels.startClose(id); // changes nothing
        vm.assertEq(channels.channelOf(id).closesAt, closesAt);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChallengeRuns.selector, id, closesAt));
        channels.finish(id);
        channels.claim(id, 30 * ONE, voucher(ANN, 30 * ONE)); // in time
        vm.warp(closesAt);
        channels.finish(id);
        vm.assertEq(usd.balanceOf(ann), 970 * ONE);
        vm.assertEq(usd.balanceOf(bob), 30 * ONE);
        vm.assertEq(usd.balanceOf(address(channels)), 0);
    }

    function test_vouchers_of_a_closed_channel_are_worth_nothing() public {
        bytes memory late = voucher(ANN, ONE);
        vm.prank(bob);
        channels.close(id, 0, "");
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelClosed.selector, id));
        channels.claim(id, ONE, late);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelClosed.selector, id));
        channels.finish(id);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelClosed.selector, id));
        channels.close(id, 0, "");
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.ChannelClosed.selector, id));
        channels.startClose(id);
    }

    function test_the_payee_closes_with_its_last_voucher() public {
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.NotPayee.selector, ann));
        channels.close(id, 0, "");
        bytes memory last = voucher(ANN, 40 * ONE);
        vm.prank(bob);
        channels.close(id, 40 * ONE, last);
        vm.assertEq(usd.balanceOf(bob), 40 * ONE);
        vm.assertEq(usd.balanceOf(ann), 960 * ONE);
    }

    function test_an_unknown_channel_is_named() public {
        bytes32 unknown = keccak256("unknown");
        vm.expectRevert(abi.encodeWithSelector(PaymentChannel.NoChannel.selector, unknown));
        channels.claim(unknown, 1, "");
    }

    function testFuzz_money_is_conserved(uint256 first, uint256 second, uint256 more, bool byPayee) public {
        first = bound(first, 1, DEPOSIT);
        more = bound(more, 1, 900 * ONE);
        second = bound(second, first, DEPOSIT + more);
        channels.claim(id, first, voucher(ANN, first));
        vm.prank(ann);
        channels.topUp(id, more);
        bytes memory last = voucher(ANN, second);
        if (byPayee) {
            vm.prank(bob);
            channels.close(id, second, last);
        } else {
            vm.prank(ann);
            channels.startClose(id);
            if (second > first) channels.claim(id, second, last);
            vm.warp(block.timestamp + CHALLENGE_S);
            channels.finish(id);
        }
        vm.assertEq(usd.balanceOf(bob), second);
        vm.assertEq(usd.balanceOf(ann), 1_000 * ONE - second);
        vm.assertEq(usd.balanceOf(address(channels)), 0);
    }

    function testFuzz_only_the_payers_signature_counts(uint256 key, uint256 cumulative) public {
        key = bound(key, 1, type(uint128).max);
        vm.assume(key != ANN);
        cumulative = bound(cumulative, 1, DEPOSIT);
        bytes memory forged = voucher(key, cumulative);
        vm.expectRevert(PaymentChannel.BadSignature.selector);
        channels.claim(id, cumulative, forged);
    }

    function test_a_token_that_returns_false_or_keeps_a_part_is_refused() public {
        PaymentChannel bad = new PaymentChannel(IERC20(address(new FalseToken())));
        vm.prank(ann);
        vm.expectRevert();
        bad.open(bob, "1", ONE, CHALLENGE_S);
        FeeToken fee = new FeeToken();
        fee.mint(ann, ONE);
        bad = new PaymentChannel(IERC20(address(fee)));
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.UnsupportedToken.selector, ONE, ONE - ONE / 100));
        bad.open(bob, "1", ONE, CHALLENGE_S);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        new PaymentChannel(IERC20(address(0)));
    }

    function test_a_token_that_calls_back_gets_nothing_twice() public {
        ReenteringToken token = new ReenteringToken();
        PaymentChannel hit = new PaymentChannel(IERC20(address(token)));
        token.mint(ann, 10 * ONE);
        vm.prank(ann);
        bytes32 target = hit.open(bob, "1", 10 * ONE, CHALLENGE_S);
        bytes memory two = signed(ANN, hit.voucherDigest(target, 2 * ONE));
        token.aim(address(hit), abi.encodeCall(hit.claim, (target, 2 * ONE, two)));
        hit.claim(target, ONE, signed(ANN, hit.voucherDigest(target, ONE)));
        vm.assertFalse(token.succeeded());
        vm.assertEq(token.balanceOf(bob), ONE);
    }
}
