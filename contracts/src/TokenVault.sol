// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ReentrancyGuardTransient} from "@openzeppelin/contracts/utils/ReentrancyGuardTransient.sol";

/// @title TokenVault
/// @notice What all contracts here that hold money share: one token, taken in exactly, paid out safely.
/// @dev A token that returns false, takes a fee on transfer, or calls back is refused: every amount that is
///      written down is one that arrived.
abstract contract TokenVault is ReentrancyGuardTransient {
    using SafeERC20 for IERC20;

    /// @notice The token this contract holds.
    IERC20 public immutable token;

    /// @notice The zero address can hold nothing.
    error ZeroAddress();

    /// @notice An amount is more than zero and less than 2**128.
    error BadAmount(uint256 amount);

    /// @notice The token moved another amount than it was asked to.
    error UnsupportedToken(uint256 asked, uint256 arrived);

    constructor(IERC20 token_) {
        if (address(token_) == address(0)) revert ZeroAddress();
        token = token_;
    }

    function _checked(uint256 amount) internal pure returns (uint128) {
        if (amount == 0 || amount > type(uint128).max) revert BadAmount(amount);
        return uint128(amount);
    }

    /// @dev Only ever from the caller: no allowance given to this contract can be used by somebody else.
    function _take(uint256 amount) internal {
        uint256 before = token.balanceOf(address(this));
        token.safeTransferFrom(msg.sender, address(this), amount);
        uint256 arrived = token.balanceOf(address(this)) - before;
        if (arrived != amount) revert UnsupportedToken(amount, arrived);
    }

    function _give(address to, uint256 amount) internal {
        if (to == address(0)) revert ZeroAddress();
        token.safeTransfer(to, amount);
    }
}
