// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ReceiptTree} from "./ReceiptTree.sol";

/// @title SettlementAnchor
/// @notice A registry of merkle roots. A node anchors the root of its payment receipts once; afterwards anybody
///         can show that a receipt is under that root, and nobody, the node included, can replace it.
/// @dev No owner, no funds, no upgrade: there is nothing to administer and nothing to steal. Entries are keyed by
///      (msg.sender, id), so nobody can take the id of somebody else.
///      The tree is that of ReceiptTree.
contract SettlementAnchor {
    /// @dev Two slots: the root, and the rest packed. A root is never zero, so a zero root means "not anchored".
    struct Anchor {
        bytes32 root;
        uint64 blockNumber;
        uint32 count;
    }

    /// @notice `by` anchored `root`, the root of `count` leaves, under `id`. Emitted once for each (by, id).
    event Anchored(address indexed by, bytes32 indexed id, bytes32 root, uint32 count);

    /// @notice The caller already anchored something else under this id. The first write stands.
    error AnchorConflict(bytes32 id, bytes32 root, uint32 count);

    /// @notice A tree has at least one leaf and its root is a SHA-256 digest, never zero.
    error EmptyTree();

    mapping(address by => mapping(bytes32 id => Anchor)) private _anchors;

    /// @notice Anchors `root`, the root of a tree of `count` leaves, under the caller's `id`. The first write wins;
    ///         the same write again changes nothing and succeeds, so a sender may repeat it after a crash.
    /// @param id    The caller's name for this anchor.
    /// @param root  The merkle root.
    /// @param count How many leaves the tree has; it fixes the tree's shape.
    function anchor(bytes32 id, bytes32 root, uint32 count) external {
        if (root == bytes32(0) || count == 0) revert EmptyTree();
        Anchor storage entry = _anchors[msg.sender][id];
        bytes32 known = entry.root;
        if (known != bytes32(0)) {
            if (known != root || entry.count != count) revert AnchorConflict(id, known, entry.count);
            return;
        }
        entry.root = root;
        entry.blockNumber = uint64(block.number);
        entry.count = count;
        emit Anchored(msg.sender, id, root, count);
    }

    /// @notice What `by` anchored under `id`.
    /// @return root        The root, zero if there is none.
    /// @return blockNumber The block it was anchored in, zero if there is none.
    function anchorOf(address by, bytes32 id) external view returns (bytes32 root, uint64 blockNumber) {
        Anchor storage entry = _anchors[by][id];
        return (entry.root, entry.blockNumber);
    }

    /// @notice How many leaves the tree has that `by` anchored under `id`; zero if there is none.
    function countOf(address by, bytes32 id) external view returns (uint32) {
        return _anchors[by][id].count;
    }

    /// @notice Is `leafData` the leaf `index` of the tree that `by` anchored under `id`?
    /// @param path The siblings from the leaf up; levels where the node has none are left out.
    function includes(address by, bytes32 id, bytes calldata leafData, uint256 index, bytes32[] calldata path)
        external
        view
        returns (bool)
    {
        Anchor storage entry = _anchors[by][id];
        return verify(entry.root, leafData, index, entry.count, path);
    }

    /// @notice Is `leafData` the leaf `index` of a tree of `count` leaves with this `root`?
    /// @dev Does not revert on bad input: anything but a correct proof is false.
    /// @param path The siblings from the leaf up; levels where the node has none are left out.
    function verify(
        bytes32 root,
        bytes calldata leafData,
        uint256 index,
        uint256 count,
        bytes32[] calldata path
    ) public pure returns (bool) {
        return ReceiptTree.verify(root, leafData, index, count, path);
    }
}
