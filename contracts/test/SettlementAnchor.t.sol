// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SettlementAnchor} from "../src/SettlementAnchor.sol";
import {Base} from "./Base.sol";

contract SettlementAnchorTest is Base {
    SettlementAnchor private anchors;

    function setUp() public {
        makeToken();
        anchors = new SettlementAnchor();
    }

    function test_the_first_write_wins() public {
        vm.roll(77);
        vm.startPrank(ann);
        anchors.anchor("id", "root", 2);
        anchors.anchor("id", "root", 2); // again: nothing
        vm.expectRevert(
            abi.encodeWithSelector(
                SettlementAnchor.AnchorConflict.selector, bytes32("id"), bytes32("root"), 2
            )
        );
        anchors.anchor("id", "other", 2);
        vm.expectRevert(SettlementAnchor.EmptyTree.selector);
        anchors.anchor("id 2", "root", 0);
        vm.stopPrank();
        (bytes32 root, uint64 number) = anchors.anchorOf(ann, "id");
        vm.assertEq(root, "root");
        vm.assertEq(number, 77);
        vm.assertEq(anchors.countOf(ann, "id"), 2);
        vm.assertEq(anchors.countOf(bob, "id"), 0);
    }

    /// @dev tests/chain holds it against the tree of the core; this is the smallest tree by hand.
    function test_it_verifies_leaves_and_nothing_else() public {
        bytes32 a = sha256(abi.encodePacked(bytes1(0), "a"));
        bytes32 b = sha256(abi.encodePacked(bytes1(0), "b"));
        bytes32 c = sha256(abi.encodePacked(bytes1(0), "c"));
        bytes32 ab = sha256(abi.encodePacked(bytes1(0x01), a, b));
        bytes32 root = sha256(abi.encodePacked(bytes1(0x01), ab, c));
        vm.prank(ann);
        anchors.anchor("id", root, 3);
        bytes32[] memory path = new bytes32[](2);
        (path[0], path[1]) = (a, c);
        vm.assertTrue(anchors.includes(ann, "id", "b", 1, path));
        vm.assertFalse(anchors.includes(ann, "id", "a", 1, path));
        bytes32[] memory short = new bytes32[](1);
        short[0] = ab; // the odd leaf moves up: one sibling
        vm.assertTrue(anchors.verify(root, "c", 2, 3, short));
        vm.assertFalse(anchors.verify(root, "c", 2, 3, path));
        vm.assertFalse(anchors.verify(root, "c", 2, 3, new bytes32[](0)));
    }

    function testFuzz_no_other_leaf_has_a_proof(
        bytes calldata data,
        uint256 index,
        uint256 count,
        bytes32 sibling
    ) public view {
        bytes32[] memory path = new bytes32[](1);
        path[0] = sibling;
        vm.assertFalse(anchors.verify(keccak256("a root nobody hashed to"), data, index, count, path));
    }
}

contract TestUSDTest is Base {
    function test_only_minters_mint() public {
        makeToken();
        vm.assertEq(usd.decimals(), 6);
        usd.mint(ann, ONE);
        vm.assertEq(usd.balanceOf(ann), ONE);
        vm.prank(eve);
        vm.expectRevert();
        usd.mint(eve, ONE);
        usd.grantRole(usd.MINTER_ROLE(), bob);
        vm.prank(bob);
        usd.mint(bob, ONE);
        vm.assertEq(usd.totalSupply(), 2 * ONE);
    }
}
