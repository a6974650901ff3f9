// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {TokenVault} from "./TokenVault.sol";

/// @title Escrow
/// @notice Money for one piece of work: locked by a payer, released as the work is accepted, decided by an arbiter
///         when the two disagree, and never stuck: each wait has an end that anybody can bring about.
/// @dev      open --accept--> accepted --submit--> submitted --claim (review over)--> closed
///            |                  |  |                |  |
///         cancel         reclaim|  +----dispute-----+  +--release (all)--> closed
///            v        (deadline)v         v
///          closed            closed    disputed --resolve | split (arbiter silent)--> closed
///
///      The payer may release any part at any time before a dispute, the payee may give all back at any time.
///      Nothing is pushed: what is paid becomes a credit of its owner, who withdraws it, so nobody's refusal to
///      take money can hold up another's. Roles set the fee of future deals and may stop new deals; none of them
///      can touch what is locked or credited.
contract Escrow is TokenVault, AccessControl {
    enum State {
        None,
        Open,
        Accepted,
        Submitted,
        Disputed,
        Closed
    }

    /// @dev `deadline` is for the delivery; `endsAt` is when the present wait (review or dispute) is over.
    struct Deal {
        address payer;
        uint64 deadline;
        State state;
        address payee;
        uint64 endsAt;
        uint16 feeBps;
        address arbiter;
        uint32 reviewS;
        uint128 amount;
        uint128 held;
        bytes32 terms;
    }

    /// @notice May set the fee and where it goes.
    bytes32 public constant FEE_ROLE = keccak256("FEE_ROLE");
    /// @notice May stop new deals, and allow them again.
    bytes32 public constant PAUSE_ROLE = keccak256("PAUSE_ROLE");
    /// @notice No fee is ever above 1 %.
    uint16 public constant MAX_FEE_BPS = 100;
    /// @notice How long an arbiter has, in seconds. After that the two sides share what is held.
    uint64 public constant ARBITRATION_S = 14 days;
    uint32 public constant MIN_REVIEW_S = 1 hours;
    uint32 public constant MAX_REVIEW_S = 30 days;
    uint64 public constant MAX_DEADLINE_S = 366 days;

    event Opened(
        bytes32 indexed id,
        address indexed payer,
        address indexed payee,
        address arbiter,
        uint256 amount,
        uint64 deadline,
        uint32 reviewS,
        bytes32 terms
    );
    event Accepted(bytes32 indexed id);
    event Submitted(bytes32 indexed id, bytes32 deliverable, uint64 reviewEndsAt);
    event Released(bytes32 indexed id, uint256 amount, uint256 fee);
    event Refunded(bytes32 indexed id, uint256 amount);
    event Disputed(bytes32 indexed id, address indexed by, bytes32 evidence, uint64 endsAt);
    event Resolved(bytes32 indexed id, uint256 toPayee, uint256 toPayer);
    event Withdrawn(address indexed account, address indexed to, uint256 amount);
    event FeeSet(uint16 feeBps, address indexed recipient);
    event PausedSet(bool paused);

    error DealExists(bytes32 id);
    error WrongState(bytes32 id, State state);
    error NotParty(address caller);
    error BadDeadline(uint64 deadline);
    error BadReview(uint32 seconds_);
    error BadFee(uint16 feeBps);
    error SameParties();
    error DeadlinePassed(uint64 deadline);
    error TooEarly(uint64 endsAt);
    error ExceedsHeld(uint256 amount, uint256 held);
    error NewDealsPaused();
    error NothingToWithdraw(address account);

    /// @notice The fee of deals opened from now on, in hundredths of a percent.
    uint16 public feeBps;
    /// @notice Where fees go.
    address public feeRecipient;
    /// @notice Are new deals stopped?
    bool public paused;
    /// @notice What an account may withdraw.
    mapping(address account => uint256) public creditOf;

    mapping(bytes32 id => Deal) private _deals;

    constructor(IERC20 token_, address admin, uint16 feeBps_) TokenVault(token_) {
        if (admin == address(0)) revert ZeroAddress();
        _grantRole(DEFAULT_ADMIN_ROLE, admin);
        _grantRole(FEE_ROLE, admin);
        _grantRole(PAUSE_ROLE, admin);
        _setFee(feeBps_, admin);
    }

    /// @notice The id of the deal that `payer` opens with `salt`.
    function idOf(address payer, bytes32 salt) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), payer, salt));
    }

    /// @notice What is known of a deal.
    function dealOf(bytes32 id) external view returns (Deal memory) {
        return _deals[id];
    }

    // A deal's life

    /// @notice Locks `amount` of the caller's for `payee`. A salt opens one deal, ever.
    /// @param deadline Until when the work is to be submitted, in seconds since 1970.
    /// @param reviewS  How long the payer may look at it before the payee can claim.
    /// @param terms    The hash of what was agreed.
    function open(
        bytes32 salt,
        address payee,
        address arbiter,
        uint256 amount,
        uint64 deadline,
        uint32 reviewS,
        bytes32 terms
    ) external nonReentrant returns (bytes32 id) {
        if (paused) revert NewDealsPaused();
        if (payee == address(0) || arbiter == address(0)) revert ZeroAddress();
        if (payee == msg.sender || arbiter == msg.sender || arbiter == payee) revert SameParties();
        if (deadline <= block.timestamp || deadline > block.timestamp + MAX_DEADLINE_S) {
            revert BadDeadline(deadline);
        }
        if (reviewS < MIN_REVIEW_S || reviewS > MAX_REVIEW_S) revert BadReview(reviewS);
        id = idOf(msg.sender, salt);
        Deal storage deal = _deals[id];
        if (deal.state != State.None) revert DealExists(id);
        deal.payer = msg.sender;
        deal.deadline = deadline;
        deal.state = State.Open;
        deal.payee = payee;
        deal.feeBps = feeBps;
        deal.arbiter = arbiter;
        deal.reviewS = reviewS;
        deal.amount = _checked(amount);
        deal.held = uint128(amount);
        deal.terms = terms;
        emit Opened(id, msg.sender, payee, arbiter, amount, deadline, reviewS, terms);
        _take(amount);
    }

    /// @notice The payee agrees to the terms.
    function accept(bytes32 id) external {
        Deal storage deal = _in(id, State.Open);
        if (msg.sender != deal.payee) revert NotParty(msg.sender);
        if (block.timestamp > deal.deadline) revert DeadlinePassed(deal.deadline);
        deal.state = State.Accepted;
        emit Accepted(id);
    }

    /// @notice The payer takes back a deal that nobody accepted.
    function cancel(bytes32 id) external {
        Deal storage deal = _in(id, State.Open);
        if (msg.sender != deal.payer) revert NotParty(msg.sender);
        _refundRest(id, deal);
    }

    /// @notice The payee hands in its work; the payer has the review period to release or dispute.
    function submit(bytes32 id, bytes32 deliverable) external {
        Deal storage deal = _in(id, State.Accepted);
        if (msg.sender != deal.payee) revert NotParty(msg.sender);
        if (block.timestamp > deal.deadline) revert DeadlinePassed(deal.deadline);
        deal.state = State.Submitted;
        deal.endsAt = uint64(block.timestamp) + deal.reviewS;
        emit Submitted(id, deliverable, deal.endsAt);
    }

    /// @notice The payer releases `amount`: a milestone, or all that is held.
    function release(bytes32 id, uint256 amount) external {
        Deal storage deal = _working(id);
        if (msg.sender != deal.payer) revert NotParty(msg.sender);
        if (_checked(amount) > deal.held) revert ExceedsHeld(amount, deal.held);
        _release(id, deal, amount);
        if (deal.held == 0) deal.state = State.Closed;
    }

    /// @notice The payer did not say a word in the review period: the payee takes what is held.
    function claim(bytes32 id) external {
        Deal storage deal = _in(id, State.Submitted);
        if (msg.sender != deal.payee) revert NotParty(msg.sender);
        if (block.timestamp < deal.endsAt) revert TooEarly(deal.endsAt);
        deal.state = State.Closed;
        _release(id, deal, deal.held);
    }

    /// @notice The payee gives back what is held.
    function refund(bytes32 id) external {
        Deal storage deal = _deals[id];
        if (deal.state == State.None || deal.state == State.Closed) revert WrongState(id, deal.state);
        if (msg.sender != deal.payee) revert NotParty(msg.sender);
        _refundRest(id, deal);
    }

    /// @notice Nothing was submitted until the deadline: the payer takes back what is held.
    function reclaim(bytes32 id) external {
        Deal storage deal = _in(id, State.Accepted);
        if (msg.sender != deal.payer) revert NotParty(msg.sender);
        if (block.timestamp <= deal.deadline) revert TooEarly(deal.deadline);
        _refundRest(id, deal);
    }

    /// @notice One side asks the arbiter to decide. Of work submitted, only until the review is over.
    function dispute(bytes32 id, bytes32 evidence) external {
        Deal storage deal = _working(id);
        if (msg.sender != deal.payer && msg.sender != deal.payee) revert NotParty(msg.sender);
        if (deal.state == State.Submitted) {
            if (block.timestamp >= deal.endsAt) revert DeadlinePassed(deal.endsAt);
        } else if (block.timestamp > deal.deadline) {
            revert DeadlinePassed(deal.deadline);
        }
        deal.state = State.Disputed;
        deal.endsAt = uint64(block.timestamp) + ARBITRATION_S;
        emit Disputed(id, msg.sender, evidence, deal.endsAt);
    }

    /// @notice The arbiter gives `toPayee` of what is held to the payee, and the rest to the payer.
    function resolve(bytes32 id, uint256 toPayee) external {
        Deal storage deal = _in(id, State.Disputed);
        if (msg.sender != deal.arbiter) revert NotParty(msg.sender);
        if (block.timestamp >= deal.endsAt) revert DeadlinePassed(deal.endsAt);
        _divide(id, deal, toPayee);
    }

    /// @notice The arbiter was silent too long: the sides share what is held. Anybody may call.
    function split(bytes32 id) external {
        Deal storage deal = _in(id, State.Disputed);
        if (block.timestamp < deal.endsAt) revert TooEarly(deal.endsAt);
        _divide(id, deal, deal.held / 2);
    }

    /// @notice Pays what the caller is credited to `to`.
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        amount = creditOf[msg.sender];
        if (amount == 0) revert NothingToWithdraw(msg.sender);
        creditOf[msg.sender] = 0;
        emit Withdrawn(msg.sender, to, amount);
        _give(to, amount);
    }

    // Roles

    /// @notice Sets the fee of future deals, and where all fees go from now on.
    function setFee(uint16 feeBps_, address recipient) external onlyRole(FEE_ROLE) {
        _setFee(feeBps_, recipient);
    }

    /// @notice Stops new deals, or allows them again. Those that exist go on.
    function setPaused(bool paused_) external onlyRole(PAUSE_ROLE) {
        paused = paused_;
        emit PausedSet(paused_);
    }

    function _setFee(uint16 feeBps_, address recipient) private {
        if (feeBps_ > MAX_FEE_BPS) revert BadFee(feeBps_);
        if (recipient == address(0)) revert ZeroAddress();
        feeBps = feeBps_;
        feeRecipient = recipient;
        emit FeeSet(feeBps_, recipient);
    }

    function _in(bytes32 id, State state) private view returns (Deal storage deal) {
        deal = _deals[id];
        if (deal.state != state) revert WrongState(id, deal.state);
    }

    function _working(bytes32 id) private view returns (Deal storage deal) {
        deal = _deals[id];
        if (deal.state != State.Accepted && deal.state != State.Submitted) revert WrongState(id, deal.state);
    }

    function _divide(bytes32 id, Deal storage deal, uint256 toPayee) private {
        uint256 held = deal.held;
        if (toPayee > held) revert ExceedsHeld(toPayee, held);
        emit Resolved(id, toPayee, held - toPayee);
        if (toPayee > 0) _release(id, deal, toPayee);
        _refundRest(id, deal);
    }

    /// @dev The fee is rounded down: the payee never loses a unit to rounding.
    function _release(bytes32 id, Deal storage deal, uint256 amount) private {
        uint256 fee = amount * deal.feeBps / 10_000;
        deal.held -= uint128(amount);
        creditOf[deal.payee] += amount - fee;
        if (fee > 0) creditOf[feeRecipient] += fee;
        emit Released(id, amount, fee);
    }

    function _refundRest(bytes32 id, Deal storage deal) private {
        uint256 rest = deal.held;
        deal.state = State.Closed;
        deal.held = 0;
        if (rest > 0) creditOf[deal.payer] += rest;
        emit Refunded(id, rest);
    }
}
