// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {Escrow} from "../src/Escrow.sol";
import {PaymentChannel} from "../src/PaymentChannel.sol";
import {Settlement} from "../src/Settlement.sol";
import {SettlementAnchor} from "../src/SettlementAnchor.sol";
import {StakeRegistry} from "../src/StakeRegistry.sol";
import {Base} from "./Base.sol";

/// @dev What each call costs, without the 21,000 and the calldata of a transaction. snapshots/gas.json is compared
///      on CI: a change of cost shows in the review.
contract GasTest is Base {
    function setUp() public {
        makeToken();
    }

    function snap(string memory name) private {
        vm.snapshotGasLastCall("gas", name);
    }

    function test_gas_of_a_channel() public {
        PaymentChannel channels = new PaymentChannel(IERC20(address(usd)));
        fund(ann, address(channels), 1_000 * ONE);
        vm.prank(ann);
        bytes32 id = channels.open(bob, "1", 100 * ONE, 1 days);
        snap("PaymentChannel.open");
        bytes memory first = signed(ANN, channels.voucherDigest(id, ONE));
        bytes memory last = signed(ANN, channels.voucherDigest(id, 3 * ONE));
        channels.claim(id, ONE, first);
        snap("PaymentChannel.claim");
        vm.prank(ann);
        channels.topUp(id, ONE);
        snap("PaymentChannel.topUp");
        vm.prank(bob);
        channels.close(id, 3 * ONE, last);
        snap("PaymentChannel.close");
    }

    function test_gas_of_an_escrow() public {
        Escrow escrow = new Escrow(IERC20(address(usd)), address(this), 50);
        fund(ann, address(escrow), 1_000 * ONE);
        uint64 deadline = uint64(block.timestamp) + 1 days;
        vm.prank(ann);
        bytes32 id = escrow.open("1", bob, cat, 100 * ONE, deadline, 1 days, "terms");
        snap("Escrow.open");
        vm.prank(bob);
        escrow.accept(id);
        snap("Escrow.accept");
        vm.prank(bob);
        escrow.submit(id, "cid");
        snap("Escrow.submit");
        vm.prank(ann);
        escrow.release(id, 40 * ONE);
        snap("Escrow.release");
        vm.prank(ann);
        escrow.dispute(id, "evidence");
        snap("Escrow.dispute");
        vm.prank(cat);
        escrow.resolve(id, 30 * ONE);
        snap("Escrow.resolve");
        vm.prank(bob);
        escrow.withdraw(bob);
        snap("Escrow.withdraw");
    }

    function test_gas_of_a_stake() public {
        address[] memory roster = new address[](1);
        roster[0] = ann;
        StakeRegistry registry = new StakeRegistry(IERC20(address(usd)), cat, 7 days, roster, 1);
        fund(bob, address(registry), 100 * ONE);
        vm.prank(bob);
        registry.stake(bob, 100 * ONE);
        snap("StakeRegistry.stake");
        vm.prank(bob);
        registry.unbond(10 * ONE);
        snap("StakeRegistry.unbond");
        bytes[] memory signatures = new bytes[](1);
        signatures[0] = signed(ANN, registry.slashDigest(bob, ONE, "offence"));
        registry.slash(bob, ONE, "offence", signatures);
        snap("StakeRegistry.slash, quorum of 1");
    }

    function test_gas_of_settling_twenty_parties() public {
        Settlement hub = new Settlement(IERC20(address(usd)), 1 days);
        uint256[] memory keys = new uint256[](20);
        for (uint256 i = 0; i < 20; ++i) {
            uint256 key = i + 1;
            uint256 slot = i;
            for (; slot > 0 && vm.addr(keys[slot - 1]) > vm.addr(key); --slot) {
                keys[slot] = keys[slot - 1];
            }
            keys[slot] = key;
        }
        for (uint256 i = 0; i < 20; ++i) {
            address who = vm.addr(keys[i]);
            fund(who, address(hub), 100 * ONE);
            vm.prank(who);
            hub.deposit(who, 100 * ONE);
        }
        Settlement.Movement[] memory debits = new Settlement.Movement[](10);
        Settlement.Movement[] memory credits = new Settlement.Movement[](10);
        for (uint256 i = 0; i < 10; ++i) {
            debits[i] = Settlement.Movement(vm.addr(keys[i]), ONE);
            credits[i] = Settlement.Movement(vm.addr(keys[i + 10]), ONE);
        }
        bytes32 digest =
            hub.settlementDigest(address(this), "epoch", "root", 1_000, debits, credits, block.timestamp);
        bytes[] memory signatures = new bytes[](10);
        for (uint256 i = 0; i < 10; ++i) {
            signatures[i] = signed(keys[i], digest);
        }
        hub.settle("epoch", "root", 1_000, debits, credits, block.timestamp, signatures);
        snap("Settlement.settle, 10 debtors and 10 creditors");
    }

    function test_gas_of_an_anchor() public {
        SettlementAnchor anchors = new SettlementAnchor();
        anchors.anchor("1", "root", 7);
        snap("SettlementAnchor.anchor");
    }
}
