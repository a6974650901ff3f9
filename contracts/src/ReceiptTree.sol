// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @title ReceiptTree
/// @notice The merkle tree of receipts, as `swarmd.protocol.merkle` builds it.
/// @dev leaf = sha256(0x00 || data), node = sha256(0x01 || left || right). The last node of a level with an odd
///      number of nodes moves up unchanged, so that level adds nothing to its path. The prefixes keep a leaf from
///      being passed off as a node (second preimage).
library ReceiptTree {
    /// @notice Is `leafData` the leaf `index` of a tree of `count` leaves with this `root`?
    /// @dev Does not revert on bad input: anything but a correct proof is false.
    /// @param path The siblings from the leaf up; levels where the node has none are left out.
    function verify(
        bytes32 root,
        bytes calldata leafData,
        uint256 index,
        uint256 count,
        bytes32[] calldata path
    ) internal pure returns (bool) {
        if (index >= count) return false;
        bytes32 node = sha256(abi.encodePacked(bytes1(0x00), leafData));
        uint256 used = 0;
        while (count > 1) {
            bool isRight = index & 1 == 1;
            if (isRight || index + 1 < count) {
                if (used == path.length) return false;
                bytes32 sibling = path[used++];
                node = isRight ? _parent(sibling, node) : _parent(node, sibling);
            }
            index >>= 1;
            count = (count >> 1) + (count & 1);
        }
        return used == path.length && node == root;
    }

    function _parent(bytes32 left, bytes32 right) private pure returns (bytes32) {
        return sha256(abi.encodePacked(bytes1(0x01), left, right));
    }
}
