// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";
import {TokenVault} from "../src/TokenVault.sol";
import {Base} from "./Base.sol";

contract StakeRegistryTest is Base {
    StakeRegistry private registry;
    uint256[] private keys; // of the roster, by ascending address
    address private constant TREASURY = address(0x7EA5);
    uint64 private constant UNBONDING_S = 7 days;
    bytes32 private constant OFFENCE = "two plans signed";

    function setUp() public {
        makeToken();
        keys = [uint256(11), 12, 13, 14, 15];
        for (uint256 i = 1; i < keys.length; ++i) {
            for (uint256 j = i; j > 0 && vm.addr(keys[j]) < vm.addr(keys[j - 1]); --j) {
                (keys[j], keys[j - 1]) = (keys[j - 1], keys[j]);
            }
        }
        registry = new StakeRegistry(IERC20(address(usd)), TREASURY, UNBONDING_S, members(5), 3);
        fund(ann, address(registry), 100 * ONE);
        vm.prank(ann);
        registry.stake(ann, 100 * ONE);
    }

    function members(uint256 count) private view returns (address[] memory made) {
        made = new address[](count);
        for (uint256 i = 0; i < count; ++i) {
            made[i] = vm.addr(keys[i]);
        }
    }

    function signatures(bytes32 digest, uint256 count) private view returns (bytes[] memory made) {
        made = new bytes[](count);
        for (uint256 i = 0; i < count; ++i) {
            made[i] = signed(keys[i], digest);
        }
    }

    function slashed(uint256 amount) private view returns (bytes[] memory) {
        return signatures(registry.slashDigest(ann, amount, OFFENCE), 3);
    }

    function test_a_stake_leaves_slowly() public {
        vm.startPrank(ann);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NothingUnbonding.selector, ann));
        registry.withdraw(ann);
        registry.unbond(40 * ONE);
        (uint128 bonded, uint128 unbonding, uint64 readyAt) = registry.stakeOf(ann);
        vm.assertEq(bonded, 60 * ONE);
        vm.assertEq(unbonding, 40 * ONE);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotReady.selector, readyAt));
        registry.withdraw(ann);
        vm.warp(readyAt);
        registry.withdraw(bob);
        vm.assertEq(usd.balanceOf(bob), 40 * ONE);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotEnoughStake.selector, 60 * ONE, 61 * ONE));
        registry.unbond(61 * ONE);
    }

    function test_unbonding_more_starts_the_wait_anew() public {
        vm.startPrank(ann);
        registry.unbond(10 * ONE);
        vm.warp(block.timestamp + UNBONDING_S - 1);
        registry.unbond(10 * ONE);
        vm.warp(block.timestamp + 1);
        (, uint128 unbonding, uint64 readyAt) = registry.stakeOf(ann);
        vm.assertEq(unbonding, 20 * ONE);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotReady.selector, readyAt));
        registry.withdraw(ann);
    }

    function test_a_stranger_cannot_touch_a_stake() public {
        vm.startPrank(eve);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotEnoughStake.selector, 0, 1));
        registry.unbond(1);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NothingUnbonding.selector, eve));
        registry.withdraw(eve);
    }

    function test_staking_for_another_and_bounds() public {
        usd.mint(ann, ONE);
        vm.startPrank(ann);
        registry.stake(bob, ONE);
        (uint128 bonded,,) = registry.stakeOf(bob);
        vm.assertEq(bonded, ONE);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        registry.stake(address(0), ONE);
        vm.expectRevert(abi.encodeWithSelector(TokenVault.BadAmount.selector, 0));
        registry.stake(ann, 0);
    }

    function test_a_quorum_slashes_what_is_leaving_first() public {
        vm.prank(ann);
        registry.unbond(30 * ONE);
        vm.assertEq(registry.slash(ann, 50 * ONE, OFFENCE, slashed(50 * ONE)), 50 * ONE);
        (uint128 bonded, uint128 unbonding,) = registry.stakeOf(ann);
        vm.assertEq(bonded, 50 * ONE);
        vm.assertEq(unbonding, 0);
        vm.assertEq(registry.payTreasury(), 50 * ONE);
        vm.assertEq(usd.balanceOf(TREASURY), 50 * ONE);
        vm.expectRevert(StakeRegistry.NothingSlashed.selector);
        registry.payTreasury();
    }

    function test_never_more_is_slashed_than_there_is() public {
        vm.assertEq(registry.slash(ann, 500 * ONE, OFFENCE, slashed(500 * ONE)), 100 * ONE);
        bytes[] memory again = signatures(registry.slashDigest(ann, ONE, "another"), 3);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotEnoughStake.selector, 0, ONE));
        registry.slash(ann, ONE, "another", again);
    }

    function test_an_offence_is_punished_once() public {
        bytes[] memory proof = slashed(ONE);
        registry.slash(ann, ONE, OFFENCE, proof);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.AlreadyPunished.selector, OFFENCE));
        registry.slash(ann, ONE, OFFENCE, proof);
    }

    function test_less_than_a_quorum_slashes_nothing() public {
        bytes32 digest = registry.slashDigest(ann, ONE, OFFENCE);
        bytes[] memory few = signatures(digest, 2);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.QuorumMissed.selector, 2, 3));
        registry.slash(ann, ONE, OFFENCE, few);

        bytes[] memory twice = signatures(digest, 3);
        twice[2] = twice[1];
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.SignersUnordered.selector, vm.addr(keys[1])));
        registry.slash(ann, ONE, OFFENCE, twice);

        twice[2] = highS(keys[1], digest); // another spelling of the same signature
        vm.expectRevert();
        registry.slash(ann, ONE, OFFENCE, twice);
    }

    function test_strangers_and_foreign_digests_do_not_count() public {
        keys = [uint256(ANN), BOB, CAT];
        for (uint256 i = 0; i < 3; ++i) {
            for (uint256 j = i; j > 0 && vm.addr(keys[j]) < vm.addr(keys[j - 1]); --j) {
                (keys[j], keys[j - 1]) = (keys[j - 1], keys[j]);
            }
        }
        bytes[] memory strangers = slashed(ONE);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.NotVerifier.selector, vm.addr(keys[0])));
        registry.slash(ann, ONE, OFFENCE, strangers);
    }

    function test_another_amount_or_chain_than_signed_is_refused() public {
        bytes[] memory proof = slashed(ONE);
        vm.expectRevert();
        registry.slash(ann, 2 * ONE, OFFENCE, proof);
        vm.chainId(999);
        vm.expectRevert();
        registry.slash(ann, ONE, OFFENCE, proof);
    }

    function test_only_a_quorum_changes_the_roster_and_old_signatures_die() public {
        bytes[] memory old = slashed(ONE);
        address[] memory three = members(3);
        bytes[] memory few = signatures(registry.rotateDigest(three, 2), 2);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.QuorumMissed.selector, 2, 3));
        registry.rotate(three, 2, few);
        registry.rotate(three, 2, signatures(registry.rotateDigest(three, 2), 3));
        vm.assertEq(registry.rosterEpoch(), 1);
        vm.assertEq(registry.quorum(), 2);
        vm.assertEq(registry.roster().length, 3);
        vm.expectRevert();
        registry.slash(ann, ONE, OFFENCE, old);
        registry.slash(ann, ONE, OFFENCE, signatures(registry.slashDigest(ann, ONE, OFFENCE), 2));
    }

    function test_rosters_that_cannot_decide_are_refused() public {
        IERC20 token = IERC20(address(usd));
        address[] memory five = members(5);
        vm.expectRevert(StakeRegistry.BadRoster.selector);
        new StakeRegistry(token, TREASURY, 1, new address[](0), 0);
        vm.expectRevert(StakeRegistry.BadRoster.selector);
        new StakeRegistry(token, TREASURY, 1, five, 2);
        vm.expectRevert(StakeRegistry.BadRoster.selector);
        new StakeRegistry(token, TREASURY, 1, five, 6);
        (five[0], five[1]) = (five[1], five[0]);
        vm.expectRevert(StakeRegistry.BadRoster.selector);
        new StakeRegistry(token, TREASURY, 1, five, 3);
        vm.expectRevert(TokenVault.ZeroAddress.selector);
        new StakeRegistry(token, address(0), 1, five, 3);
        vm.expectRevert(abi.encodeWithSelector(StakeRegistry.BadUnbondingPeriod.selector, 0));
        new StakeRegistry(token, TREASURY, 0, five, 3);
    }

    function test_a_node_key_is_its_accounts_own_word() public {
        vm.prank(ann);
        registry.setNodeKey("ed25519 key");
        vm.assertEq(registry.nodeKeyOf(ann), "ed25519 key");
        vm.assertEq(registry.nodeKeyOf(bob), bytes32(0));
    }

    function testFuzz_a_stake_is_conserved(uint256 leaving, uint256 fine) public {
        leaving = bound(leaving, 1, 100 * ONE);
        fine = bound(fine, 1, 200 * ONE);
        vm.prank(ann);
        registry.unbond(leaving);
        uint256 taken = registry.slash(ann, fine, OFFENCE, slashed(fine));
        (uint128 bonded, uint128 unbonding,) = registry.stakeOf(ann);
        vm.assertEq(taken, fine < 100 * ONE ? fine : 100 * ONE);
        vm.assertEq(uint256(bonded) + unbonding + taken, 100 * ONE);
        vm.assertEq(usd.balanceOf(address(registry)), 100 * ONE);
    }
}
