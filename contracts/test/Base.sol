// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {TestUSD} from "../src/TestUSD.sol";

/// @dev The cheatcodes of forge that these tests use (forge-std has no release on npm).
interface Vm {
    function prank(address sender) external;
    function startPrank(address sender) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function chainId(uint256 id) external;
    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function expectRevert() external;
    function expectRevert(bytes calldata data) external;
    function expectRevert(bytes4 selector) external;
    function expectEmit(bool, bool, bool, bool, address emitter) external;
    function assume(bool condition) external pure;
    function assertEq(uint256 left, uint256 right) external pure;
    function assertEq(uint256 left, uint256 right, string calldata what) external pure;
    function assertEq(address left, address right) external pure;
    function assertEq(bytes32 left, bytes32 right) external pure;
    function assertTrue(bool condition) external pure;
    function assertTrue(bool condition, string calldata what) external pure;
    function assertFalse(bool condition) external pure;
    function snapshotGasLastCall(string calldata group, string calldata name) external returns (uint256);
    function label(address account, string calldata name) external;
}

abstract contract Base {
    Vm internal constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    uint256 internal constant ONE = 1e6;
    // Keys of people; whoever signs needs one.
    uint256 internal constant ANN = 0xA11;
    uint256 internal constant BOB = 0xB0B;
    uint256 internal constant CAT = 0xCA7;
    uint256 internal constant EVE = 0xE5E;

    TestUSD internal usd;
    address internal immutable ann = vm.addr(ANN);
    address internal immutable bob = vm.addr(BOB);
    address internal immutable cat = vm.addr(CAT);
    address internal immutable eve = vm.addr(EVE);

    function makeToken() internal {
        vm.warp(1_800_000_000);
        usd = new TestUSD(address(this));
    }

    /// @dev Gives `who` `amount` and lets `spender` take it.
    function fund(address who, address spender, uint256 amount) internal {
        usd.mint(who, amount);
        vm.prank(who);
        usd.approve(spender, type(uint256).max);
    }

    function signed(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @dev The other signature that is valid for the same key and digest, with s above half the order.
    function highS(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        return abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
    }

    function bound(uint256 value, uint256 least, uint256 most) internal pure returns (uint256) {
        return least + value % (most - least + 1);
    }

    function as_(address who) internal {
        vm.prank(who);
    }
}

/// @dev Moves nothing and returns false.
contract FalseToken {
    mapping(address => uint256) public balanceOf;

    function transfer(address, uint256) external pure returns (bool) {
        return false;
    }

    function transferFrom(address, address, uint256) external pure returns (bool) {
        return false;
    }
}

/// @dev Keeps 1 % of what it moves.
contract FeeToken {
    mapping(address => uint256) public balanceOf;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount - amount / 100;
        return true;
    }
}

/// @dev Calls back, as often as it is told to, whoever receives or sends; keeps what came of it.
contract ReenteringToken {
    mapping(address => uint256) public balanceOf;
    address public target;
    bytes public attack;
    bool public succeeded;
    bytes public reason;

    function mint(address to, uint256 amount) external {
        balanceOf[to] += amount;
    }

    function aim(address target_, bytes calldata attack_) external {
        target = target_;
        attack = attack_;
    }

    function transfer(address to, uint256 amount) external returns (bool) {
        return _move(msg.sender, to, amount);
    }

    function transferFrom(address from, address to, uint256 amount) external returns (bool) {
        return _move(from, to, amount);
    }

    function _move(address from, address to, uint256 amount) private returns (bool) {
        balanceOf[from] -= amount;
        balanceOf[to] += amount;
        if (target != address(0)) (succeeded, reason) = target.call(attack);
        return true;
    }
}
