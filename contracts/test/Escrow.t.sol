// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Escrow} from "../src/Escrow.sol";
import {TokenVault} from "../src/TokenVault.sol";
import {Base, ReenteringToken} from "./Base.sol";

contract EscrowTest is Base {
    Escrow private escrow;
    bytes32 private id;
    uint64 private deadline;
    address private constant FEES = address(0xFEE5);
    uint256 private constant AMOUNT = 100 * ONE;
    uint32 private constant REVIEW_S = 1 days;

    function setUp() public {
        makeToken();
        escrow = new Escrow(IERC20(address(usd)), address(this), 50);
        escrow.setFee(50, FEES);
        deadline = uint64(block.timestamp) + 7 days;
        fund(ann, address(escrow), 10 * AMOUNT);
        id = opened("1");
    }

    function opened(bytes32 salt) private returns (bytes32) {
        vm.prank(ann);
        return escrow.open(salt, bob, cat, AMOUNT, deadline, REVIEW_S, "terms");
    }

    function accepted() private {
        vm.prank(bob);
        escrow.accept(id);
    }

    function submitted() private {
        accepted();
        vm.prank(bob);
        escrow.submit(id, "cid");
    }

    function state() private view returns (Escrow.State) {
        return escrow.dealOf(id).state;
    }

    function wrong() private view returns (bytes memory) {
        return abi.encodeWithSelector(Escrow.WrongState.selector, id, state());
    }

    function stranger(address who) private pure returns (bytes memory) {
        return abi.encodeWithSelector(Escrow.NotParty.selector, who);
    }

    function conserved() private view {
        uint256 credits =
            escrow.creditOf(ann) + escrow.creditOf(bob) + escrow.creditOf(cat) + escrow.creditOf(FEES);
        vm.assertEq(usd.balanceOf(address(escrow)), credits + escrow.dealOf(id).held);
    }

    function test_a_deal_that_goes_well() public {
        submitted();
        vm.prank(ann);
        escrow.release(id, AMOUNT);
        vm.assertTrue(state() == Escrow.State.Closed);
        vm.assertEq(escrow.creditOf(bob), AMOUNT - AMOUNT / 200);
        vm.assertEq(escrow.creditOf(FEES), AMOUNT / 200);
        vm.prank(bob);
        escrow.withdraw(bob);
        vm.assertEq(usd.balanceOf(bob), AMOUNT - AMOUNT / 200);
        conserved();
    }

    function test_open_refuses_what_makes_no_sense() public {
        vm.startPrank(ann);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        escrow.open("2", address(0), cat, 1, deadline, REVIEW_S, "");
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        escrow.open("2", bob, address(0), 1, deadline, REVIEW_S, "");
        vm.expectRevert(Escrow.SameParties.selector);
        escrow.open("2", ann, cat, 1, deadline, REVIEW_S, "");
        vm.expectRevert(Escrow.SameParties.selector);
        escrow.open("2", bob, bob, 1, deadline, REVIEW_S, "");
        vm.expectRevert(Escrow.SameParties.selector);
        escrow.open("2", bob, ann, 1, deadline, REVIEW_S, "");
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadDeadline.selector, uint64(block.timestamp)));
        escrow.open("2", bob, cat, 1, uint64(block.timestamp), REVIEW_S, "");
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadDeadline.selector, type(uint64).max));
        escrow.open("2", bob, cat, 1, type(uint64).max, REVIEW_S, "");
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadReview.selector, 1));
        escrow.open("2", bob, cat, 1, deadline, 1, "");
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        escrow.open("2", bob, cat, 0, deadline, REVIEW_S, "");
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 1 << 128));
        escrow.open("2", bob, cat, 1 << 128, deadline, REVIEW_S, "");
        vm.expectRevert(abi.encodeWithSelector(Escrow.DealExists.selector, id));
        escrow.open("1", bob, cat, 1, deadline, REVIEW_S, "");
    }

    function test_only_the_named_payee_accepts_and_in_time() public {
        vm.prank(eve);
        vm.expectRevert(stranger(eve));
        escrow.accept(id);
        vm.warp(deadline + 1);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlinePassed.selector, deadline));
        escrow.accept(id);
    }

    function test_the_payer_cancels_only_before_acceptance() public {
        vm.prank(bob);
        vm.expectRevert(stranger(bob));
        escrow.cancel(id);
        vm.prank(ann);
        escrow.cancel(id);
        vm.assertEq(escrow.creditOf(ann), AMOUNT);
        vm.prank(bob);
        vm.expectRevert(wrong());
        escrow.accept(id);
        id = opened("2");
        accepted();
        vm.prank(ann);
        vm.expectRevert(wrong());
        escrow.cancel(id);
    }

    function test_release_and_refund_pay_once_in_either_order() public {
        accepted();
        vm.prank(ann);
        escrow.release(id, AMOUNT);
        vm.prank(ann);
        vm.expectRevert(wrong());
        escrow.release(id, 1);
        vm.prank(bob);
        vm.expectRevert(wrong());
        escrow.refund(id);
        conserved();
        id = opened("2");
        accepted();
        vm.prank(bob);
        escrow.refund(id);
        vm.prank(bob);
        vm.expectRevert(wrong());
        escrow.refund(id);
        vm.prank(ann);
        vm.expectRevert(wrong());
        escrow.release(id, 1);
        conserved();
    }

    function test_milestones() public {
        accepted();
        vm.startPrank(ann);
        escrow.release(id, 30 * ONE);
        vm.expectRevert(abi.encodeWithSelector(Escrow.ExceedsHeld.selector, 71 * ONE, 70 * ONE));
        escrow.release(id, 71 * ONE);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        escrow.release(id, 0);
        vm.assertTrue(state() == Escrow.State.Accepted);
        escrow.release(id, 70 * ONE);
        vm.assertTrue(state() == Escrow.State.Closed);
        vm.stopPrank();
        vm.prank(eve);
        vm.expectRevert(abi.encodeWithSelector(Escrow.NothingToWithdraw.selector, eve));
        escrow.withdraw(eve);
    }

    function test_strangers_can_do_nothing() public {
        accepted();
        vm.startPrank(eve);
        vm.expectRevert(stranger(eve));
        escrow.release(id, 1);
        vm.expectRevert(stranger(eve));
        escrow.refund(id);
        vm.expectRevert(stranger(eve));
        escrow.submit(id, "cid");
        vm.expectRevert(stranger(eve));
        escrow.dispute(id, "");
        vm.expectRevert(stranger(eve));
        escrow.reclaim(id);
        vm.stopPrank();
        vm.prank(ann);
        escrow.dispute(id, "");
        vm.prank(eve);
        vm.expectRevert(stranger(eve));
        escrow.resolve(id, 0);
        vm.prank(eve);
        vm.expectRevert();
        escrow.refund(keccak256("no deal"));
    }

    function test_a_silent_payer_does_not_hold_up_the_payee() public {
        submitted();
        uint64 endsAt = escrow.dealOf(id).endsAt;
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TooEarly.selector, endsAt));
        escrow.claim(id);
        vm.warp(endsAt);
        vm.prank(ann);
        vm.expectRevert(stranger(ann));
        escrow.claim(id);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlinePassed.selector, endsAt));
        escrow.dispute(id, "too late");
        vm.prank(bob);
        escrow.claim(id);
        vm.assertEq(escrow.creditOf(bob), AMOUNT - AMOUNT / 200);
        conserved();
    }

    function test_a_silent_payee_does_not_hold_up_the_payer() public {
        accepted();
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(Escrow.TooEarly.selector, deadline));
        escrow.reclaim(id);
        vm.warp(deadline + 1);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlinePassed.selector, deadline));
        escrow.submit(id, "late");
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlinePassed.selector, deadline));
        escrow.dispute(id, "late");
        vm.prank(ann);
        escrow.reclaim(id);
        vm.assertEq(escrow.creditOf(ann), AMOUNT);
    }

    function test_the_arbiter_divides_once_and_in_time() public {
        submitted();
        vm.prank(ann);
        escrow.dispute(id, "evidence");
        vm.prank(ann);
        vm.expectRevert(wrong());
        escrow.release(id, 1);
        vm.startPrank(cat);
        vm.expectRevert(abi.encodeWithSelector(Escrow.ExceedsHeld.selector, AMOUNT + 1, AMOUNT));
        escrow.resolve(id, AMOUNT + 1);
        escrow.resolve(id, 60 * ONE);
        vm.expectRevert(wrong());
        escrow.resolve(id, 60 * ONE);
        vm.stopPrank();
        vm.assertEq(escrow.creditOf(ann), 40 * ONE);
        vm.assertEq(escrow.creditOf(bob), 60 * ONE - 60 * ONE / 200);
        conserved();
    }

    function test_a_silent_arbiter_means_an_even_split() public {
        accepted();
        vm.prank(bob);
        escrow.dispute(id, "evidence");
        uint64 endsAt = escrow.dealOf(id).endsAt;
        vm.expectRevert(abi.encodeWithSelector(Escrow.TooEarly.selector, endsAt));
        escrow.split(id);
        vm.warp(endsAt);
        vm.prank(cat);
        vm.expectRevert(abi.encodeWithSelector(Escrow.DeadlinePassed.selector, endsAt));
        escrow.resolve(id, 0);
        escrow.split(id);
        vm.assertEq(escrow.creditOf(ann), AMOUNT / 2);
        conserved();
    }

    function test_roles_set_fees_and_pause_and_nothing_else() public {
        bytes32 feeRole = escrow.FEE_ROLE();
        bytes32 pauseRole = escrow.PAUSE_ROLE();
        vm.startPrank(eve);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, eve, feeRole)
        );
        escrow.setFee(0, eve);
        vm.expectRevert(
            abi.encodeWithSelector(IAccessControl.AccessControlUnauthorizedAccount.selector, eve, pauseRole)
        );
        escrow.setPaused(true);
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(Escrow.BadFee.selector, 101));
        escrow.setFee(101, FEES);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        escrow.setFee(1, address(0));
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        new Escrow(IERC20(address(usd)), address(0), 0);
        accepted();
        escrow.setFee(100, FEES); // not for the deal that exists
        escrow.setPaused(true);
        vm.prank(ann);
        vm.expectRevert(Escrow.NewDealsPaused.selector);
        escrow.open("2", bob, cat, 1, deadline, REVIEW_S, "");
        vm.prank(ann);
        escrow.release(id, AMOUNT);
        vm.assertEq(escrow.creditOf(FEES), AMOUNT / 200);
    }

    function test_a_token_that_calls_back_withdraws_once() public {
        ReenteringToken token = new ReenteringToken();
        Escrow hit = new Escrow(IERC20(address(token)), address(this), 0);
        token.mint(ann, 2 * AMOUNT);
        token.mint(address(token), 0);
        vm.startPrank(ann);
        bytes32 first = hit.open("1", bob, cat, AMOUNT, deadline, REVIEW_S, "");
        hit.open("2", bob, cat, AMOUNT, deadline, REVIEW_S, "");
        hit.cancel(first);
        vm.stopPrank();
        token.aim(address(hit), abi.encodeCall(hit.withdraw, (ann)));
        vm.prank(ann);
        hit.withdraw(ann);
        vm.assertFalse(token.succeeded());
        vm.assertEq(token.balanceOf(ann), AMOUNT);
    }

    function testFuzz_a_division_is_conserved(uint256 amount, uint256 milestone, uint256 toPayee, uint16 fee)
        public
    {
        amount = bound(amount, 2, 900 * ONE);
        milestone = bound(milestone, 1, amount - 1);
        toPayee = bound(toPayee, 0, amount - milestone);
        escrow.setFee(uint16(bound(fee, 0, 100)), FEES);
        vm.prank(ann);
        id = escrow.open("fuzz", bob, cat, amount, deadline, REVIEW_S, "");
        accepted();
        vm.startPrank(ann);
        escrow.release(id, milestone);
        escrow.dispute(id, "");
        vm.stopPrank();
        vm.prank(cat);
        escrow.resolve(id, toPayee);
        vm.assertEq(escrow.creditOf(ann) + escrow.creditOf(bob) + escrow.creditOf(FEES), amount);
        vm.assertEq(escrow.creditOf(ann), amount - milestone - toPayee);
    }
}
