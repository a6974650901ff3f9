// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ReceiptTree} from "./ReceiptTree.sol";
import {TokenVault} from "./TokenVault.sol";

/// @title Settlement
/// @notice Accounts hold deposits here. An epoch of payments among them is settled in one transaction: the merkle
///         root of all receipts, and what remains after netting, moved between deposits.
/// @dev No owner and no trusted settler: every account that is debited has signed the whole settlement (EIP-712):
///      publisher, epoch, root, count, all movements and a deadline. So a publisher can neither take nor redirect
///      money, and nobody else can publish it. Epochs are keyed by (publisher, epoch): nobody takes another's name.
///      Withdrawals wait `withdrawalDelayS`, and until they are paid the money can still be debited: a debtor
///      can't leave before the settlement it signed.
contract Settlement is TokenVault, EIP712 {
    struct Movement {
        address account;
        uint256 amount;
    }

    /// @dev What a publisher settled. A zero root: nothing.
    struct Epoch {
        bytes32 root;
        uint64 blockNumber;
        uint32 count;
    }

    struct Withdrawal {
        uint128 amount;
        uint64 readyAt;
    }

    /// @notice The longest delay a deployment may choose.
    uint64 public constant MAX_DELAY_S = 30 days;

    bytes32 public constant MOVEMENT_TYPEHASH = keccak256("Movement(address account,uint256 amount)");
    bytes32 public constant SETTLEMENT_TYPEHASH = keccak256(
        "Settlement(address publisher,bytes32 epoch,bytes32 root,uint32 count,Movement[] debits,Movement[] credits,uint256 deadline)Movement(address account,uint256 amount)"
    );

    /// @notice How long a withdrawal waits, in seconds.
    uint64 public immutable withdrawalDelayS;

    event Deposited(address indexed account, address indexed from, uint256 amount);
    event WithdrawalRequested(address indexed account, uint256 amount, uint64 readyAt);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    /// @notice `publisher` settled `epoch`: `count` receipts under `root`, `moved` minor units between deposits.
    event Settled(
        address indexed publisher, bytes32 indexed epoch, bytes32 root, uint32 count, uint256 moved
    );

    error BadDelay(uint64 seconds_);
    error EmptyTree();
    error EpochConflict(bytes32 epoch, bytes32 root, uint32 count);
    error Expired(uint256 deadline);
    error Unordered(address account);
    error NotBalanced(uint256 debits, uint256 credits);
    error WrongSignatureCount(uint256 debits, uint256 signatures);
    error BadSignature(address debtor);
    error InsufficientBalance(address account, uint256 balance, uint256 asked);
    error NothingRequested(address account);
    error NotReady(uint64 readyAt);

    mapping(address account => uint256) private _balances;
    mapping(address account => Withdrawal) private _withdrawals;
    // slither-disable-next-line uninitialized-state (a mapping, written through storage pointers)
    mapping(address publisher => mapping(bytes32 epoch => Epoch)) private _epochs;

    constructor(IERC20 token_, uint64 withdrawalDelayS_) TokenVault(token_) EIP712("swarmd Settlement", "1") {
        if (withdrawalDelayS_ == 0 || withdrawalDelayS_ > MAX_DELAY_S) revert BadDelay(withdrawalDelayS_);
        withdrawalDelayS = withdrawalDelayS_;
    }

    /// @notice What `account` has here, what it asked to withdraw included.
    function balanceOf(address account) external view returns (uint256) {
        return _balances[account];
    }

    /// @notice What `account` asked to withdraw, and from when it can.
    function withdrawalOf(address account) external view returns (uint128 amount, uint64 readyAt) {
        Withdrawal storage withdrawal = _withdrawals[account];
        return (withdrawal.amount, withdrawal.readyAt);
    }

    /// @notice What `publisher` settled under `epoch`; a zero root means nothing yet.
    function epochOf(address publisher, bytes32 epoch) external view returns (bytes32, uint64, uint32) {
        Epoch storage entry = _epochs[publisher][epoch];
        return (entry.root, entry.blockNumber, entry.count);
    }

    /// @notice Puts `amount` of the caller's into the deposit of `account`.
    function deposit(address account, uint256 amount) external nonReentrant {
        if (account == address(0)) revert ZeroAddress();
        _balances[account] += _checked(amount);
        emit Deposited(account, msg.sender, amount);
        _take(amount);
    }

    /// @notice Asks to withdraw `amount`, in place of what was asked before; the delay starts anew.
    function requestWithdrawal(uint256 amount) external {
        uint256 balance = _balances[msg.sender];
        if (_checked(amount) > balance) revert InsufficientBalance(msg.sender, balance, amount);
        uint64 readyAt = uint64(block.timestamp) + withdrawalDelayS;
        _withdrawals[msg.sender] = Withdrawal(uint128(amount), readyAt);
        emit WithdrawalRequested(msg.sender, amount, readyAt);
    }

    /// @notice Pays what was asked for to `to` once the delay is over; less if a settlement took from it meanwhile.
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        Withdrawal memory withdrawal = _withdrawals[msg.sender];
        if (withdrawal.readyAt == 0) revert NothingRequested(msg.sender);
        if (block.timestamp < withdrawal.readyAt) revert NotReady(withdrawal.readyAt);
        delete _withdrawals[msg.sender];
        uint256 balance = _balances[msg.sender];
        amount = withdrawal.amount < balance ? withdrawal.amount : balance;
        _balances[msg.sender] = balance - amount;
        emit Withdrawn(msg.sender, to, amount);
        if (amount > 0) _give(to, amount);
    }

    /// @notice Settles the caller's `epoch`. The first write wins; the same root and count again change nothing
    ///         and succeed, so a publisher may repeat it after a crash.
    /// @param root       The merkle root of the receipts, see ReceiptTree.
    /// @param count      How many receipts there are.
    /// @param debits     Who pays what, by ascending address.
    /// @param credits    Who gets what, by ascending address; sums to the same.
    /// @param deadline   Until when the signatures hold, in seconds since 1970.
    /// @param signatures One for each debit, of that account, over `settlementDigest`.
    function settle(
        bytes32 epoch,
        bytes32 root,
        uint32 count,
        Movement[] calldata debits,
        Movement[] calldata credits,
        uint256 deadline,
        bytes[] calldata signatures
    ) external nonReentrant {
        if (!_record(epoch, root, count)) return;
        if (block.timestamp > deadline) revert Expired(deadline);
        if (signatures.length != debits.length) revert WrongSignatureCount(debits.length, signatures.length);
        bytes32 digest = settlementDigest(msg.sender, epoch, root, count, debits, credits, deadline);
        uint256 moved = _debit(debits, digest, signatures);
        uint256 credited = _credit(credits);
        if (moved != credited) revert NotBalanced(moved, credited);
        emit Settled(msg.sender, epoch, root, count, moved);
    }

    /// @notice What each debtor signs.
    function settlementDigest(
        address publisher,
        bytes32 epoch,
        bytes32 root,
        uint32 count,
        Movement[] calldata debits,
        Movement[] calldata credits,
        uint256 deadline
    ) public view returns (bytes32) {
        return _hashTypedDataV4(
            keccak256(
                abi.encode(
                    SETTLEMENT_TYPEHASH,
                    publisher,
                    epoch,
                    root,
                    count,
                    _hashMovements(debits),
                    _hashMovements(credits),
                    deadline
                )
            )
        );
    }

    /// @notice Is `receipt` the leaf `index` of the tree that `publisher` settled under `epoch`?
    function includes(
        address publisher,
        bytes32 epoch,
        bytes calldata receipt,
        uint256 index,
        bytes32[] calldata path
    ) external view returns (bool) {
        Epoch storage entry = _epochs[publisher][epoch];
        return ReceiptTree.verify(entry.root, receipt, index, entry.count, path);
    }

    /// @dev False if this very epoch is on record already.
    function _record(bytes32 epoch, bytes32 root, uint32 count) private returns (bool) {
        if (root == bytes32(0) || count == 0) revert EmptyTree();
        Epoch storage entry = _epochs[msg.sender][epoch];
        if (entry.root != bytes32(0)) {
            if (entry.root != root || entry.count != count) {
                revert EpochConflict(epoch, entry.root, entry.count);
            }
            return false;
        }
        entry.root = root;
        entry.blockNumber = uint64(block.number);
        entry.count = count;
        return true;
    }

    function _debit(Movement[] calldata debits, bytes32 digest, bytes[] calldata signatures)
        private
        returns (uint256 total)
    {
        address previous = address(0);
        for (uint256 i = 0; i < debits.length; ++i) {
            address account = debits[i].account;
            uint256 amount = _checked(debits[i].amount);
            if (account <= previous) revert Unordered(account);
            previous = account;
            if (!SignatureChecker.isValidSignatureNowCalldata(account, digest, signatures[i])) {
                revert BadSignature(account);
            }
            uint256 balance = _balances[account];
            if (amount > balance) revert InsufficientBalance(account, balance, amount);
            unchecked {
                _balances[account] = balance - amount;
            }
            total += amount;
        }
    }

    function _credit(Movement[] calldata credits) private returns (uint256 total) {
        address previous = address(0);
        for (uint256 i = 0; i < credits.length; ++i) {
            address account = credits[i].account;
            uint256 amount = _checked(credits[i].amount);
            if (account <= previous) revert Unordered(account);
            previous = account;
            _balances[account] += amount;
            total += amount;
        }
    }

    function _hashMovements(Movement[] calldata movements) private pure returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](movements.length);
        for (uint256 i = 0; i < movements.length; ++i) {
            hashes[i] = keccak256(abi.encode(MOVEMENT_TYPEHASH, movements[i].account, movements[i].amount));
        }
        return keccak256(abi.encodePacked(hashes));
    }
}
