// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {TokenVault} from "./TokenVault.sol";

/// @title StakeRegistry
/// @notice Nodes lock a stake here. It is unbonded slowly, and until it is paid out a quorum of the verifiers can
///         slash it with signed proof of an offence.
/// @dev No owner. The roster of verifiers is fixed at deployment and changed only by a quorum of itself. Slashed
///      money goes to the treasury, which draws it; no signature of the roster can move it elsewhere.
contract StakeRegistry is TokenVault, EIP712 {
    /// @dev `unbonding` is part of what can be slashed; `readyAt` is when it may leave.
    struct Stake {
        uint128 bonded;
        uint128 unbonding;
        uint64 readyAt;
    }

    uint64 public constant MAX_UNBONDING_S = 90 days;
    uint256 public constant MAX_ROSTER = 256;

    bytes32 public constant SLASH_TYPEHASH =
        keccak256("Slash(address offender,uint256 amount,bytes32 offence,uint256 rosterEpoch)");
    bytes32 public constant ROTATE_TYPEHASH =
        keccak256("Rotate(address[] roster,uint256 quorum,uint256 rosterEpoch)");

    /// @notice How long a stake takes to leave, in seconds.
    uint64 public immutable unbondingS;
    /// @notice Where slashed money goes.
    address public immutable treasury;

    /// @notice How many signatures of the roster a slash or a rotation takes.
    uint256 public quorum;
    /// @notice Counts rotations, so that a signature of an older roster is worth nothing.
    uint256 public rosterEpoch;
    /// @notice Slashed and not drawn yet.
    uint256 public slashedTotal;
    /// @notice Offences already punished: each is punished once.
    mapping(bytes32 offence => bool) public isPunished;
    /// @notice The Ed25519 key (of a did:key) that an account says is its own. Only half of a binding: the other
    ///         half is that key's signature over the account, which is checked off chain.
    mapping(address account => bytes32) public nodeKeyOf;

    address[] private _roster;
    mapping(uint256 epoch => mapping(address verifier => bool)) private _isVerifier;
    // slither-disable-next-line uninitialized-state (a mapping, written through storage pointers)
    mapping(address account => Stake) private _stakes;

    event Staked(address indexed account, address indexed from, uint256 amount, uint256 bonded);
    event UnbondingStarted(address indexed account, uint256 amount, uint256 unbonding, uint64 readyAt);
    event Unbonded(address indexed account, address indexed to, uint256 amount);
    event Slashed(address indexed account, bytes32 indexed offence, uint256 amount);
    event TreasuryPaid(uint256 amount);
    event RosterChanged(uint256 indexed rosterEpoch, address[] roster, uint256 quorum);
    event NodeKeySet(address indexed account, bytes32 indexed nodeKey);

    error BadUnbondingPeriod(uint64 seconds_);
    error BadRoster();
    error NotEnoughStake(uint256 stake, uint256 asked);
    error NothingUnbonding(address account);
    error NotReady(uint64 readyAt);
    error AlreadyPunished(bytes32 offence);
    error QuorumMissed(uint256 signatures, uint256 quorum);
    error NotVerifier(address signer);
    error SignersUnordered(address signer);
    error NothingSlashed();

    constructor(
        IERC20 token_,
        address treasury_,
        uint64 unbondingS_,
        address[] memory roster_,
        uint256 quorum_
    ) TokenVault(token_) EIP712("swarmd StakeRegistry", "1") {
        if (treasury_ == address(0)) revert ZeroAddress();
        if (unbondingS_ == 0 || unbondingS_ > MAX_UNBONDING_S) revert BadUnbondingPeriod(unbondingS_);
        treasury = treasury_;
        unbondingS = unbondingS_;
        _setRoster(roster_, quorum_);
    }

    /// @notice What `account` has bonded, what is on its way out, and from when that can be drawn.
    function stakeOf(address account)
        external
        view
        returns (uint128 bonded, uint128 unbonding, uint64 readyAt)
    {
        Stake storage stake_ = _stakes[account];
        return (stake_.bonded, stake_.unbonding, stake_.readyAt);
    }

    /// @notice The verifiers, by ascending address.
    function roster() external view returns (address[] memory) {
        return _roster;
    }

    /// @notice Adds `amount` of the caller's to the stake of `account`.
    function stake(address account, uint256 amount) external nonReentrant {
        if (account == address(0)) revert ZeroAddress();
        Stake storage entry = _stakes[account];
        uint256 bonded = entry.bonded + uint256(_checked(amount));
        entry.bonded = _checked(bonded);
        emit Staked(account, msg.sender, amount, bonded);
        _take(amount);
    }

    /// @notice Starts `amount` on its way out. It joins what is on its way, and the period starts anew for both.
    function unbond(uint256 amount) external {
        Stake storage entry = _stakes[msg.sender];
        if (_checked(amount) > entry.bonded) revert NotEnoughStake(entry.bonded, amount);
        entry.bonded -= uint128(amount);
        entry.unbonding = _checked(entry.unbonding + amount);
        uint64 readyAt = uint64(block.timestamp) + unbondingS;
        entry.readyAt = readyAt;
        emit UnbondingStarted(msg.sender, amount, entry.unbonding, readyAt);
    }

    /// @notice Pays what has been on its way out for long enough to `to`.
    function withdraw(address to) external nonReentrant returns (uint256 amount) {
        Stake storage entry = _stakes[msg.sender];
        amount = entry.unbonding;
        if (amount == 0) revert NothingUnbonding(msg.sender);
        if (block.timestamp < entry.readyAt) revert NotReady(entry.readyAt);
        entry.unbonding = 0;
        entry.readyAt = 0;
        emit Unbonded(msg.sender, to, amount);
        _give(to, amount);
    }

    /// @notice Takes up to `amount` from `offender`, from what is leaving first, for an offence proved to a quorum.
    /// @param offence    The hash of the evidence. Each is punished once.
    /// @param signatures Of verifiers over `slashDigest`, by ascending address of the signer.
    function slash(address offender, uint256 amount, bytes32 offence, bytes[] calldata signatures)
        external
        returns (uint256 taken)
    {
        if (isPunished[offence]) revert AlreadyPunished(offence);
        isPunished[offence] = true;
        _checkQuorum(slashDigest(offender, amount, offence), signatures);
        Stake storage entry = _stakes[offender];
        uint256 asked = _checked(amount);
        uint256 fromUnbonding = asked < entry.unbonding ? asked : entry.unbonding;
        uint256 fromBonded = asked - fromUnbonding < entry.bonded ? asked - fromUnbonding : entry.bonded;
        taken = fromUnbonding + fromBonded;
        if (taken == 0) revert NotEnoughStake(0, amount);
        entry.unbonding -= uint128(fromUnbonding);
        entry.bonded -= uint128(fromBonded);
        slashedTotal += taken;
        emit Slashed(offender, offence, taken);
    }

    /// @notice Sends what was slashed to the treasury. Anybody may call.
    function payTreasury() external nonReentrant returns (uint256 amount) {
        amount = slashedTotal;
        if (amount == 0) revert NothingSlashed();
        slashedTotal = 0;
        emit TreasuryPaid(amount);
        _give(treasury, amount);
    }

    /// @notice Puts another roster and quorum in force, by a quorum of the present one.
    /// @param newRoster By ascending address.
    function rotate(address[] calldata newRoster, uint256 newQuorum, bytes[] calldata signatures) external {
        _checkQuorum(rotateDigest(newRoster, newQuorum), signatures);
        ++rosterEpoch;
        _setRoster(newRoster, newQuorum);
    }

    /// @notice Says which Ed25519 key the caller's node has; zero takes it back.
    function setNodeKey(bytes32 nodeKey) external {
        nodeKeyOf[msg.sender] = nodeKey;
        emit NodeKeySet(msg.sender, nodeKey);
    }

    /// @notice What verifiers sign to slash.
    function slashDigest(address offender, uint256 amount, bytes32 offence) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(SLASH_TYPEHASH, offender, amount, offence, rosterEpoch)));
    }

    /// @notice What verifiers sign to change the roster.
    function rotateDigest(address[] calldata newRoster, uint256 newQuorum) public view returns (bytes32) {
        bytes32 members = keccak256(abi.encodePacked(newRoster));
        return _hashTypedDataV4(keccak256(abi.encode(ROTATE_TYPEHASH, members, newQuorum, rosterEpoch)));
    }

    /// @dev By ascending address of the signers, so that none counts twice however it spells its signature.
    function _checkQuorum(bytes32 digest, bytes[] calldata signatures) private view {
        if (signatures.length < quorum) revert QuorumMissed(signatures.length, quorum);
        address previous = address(0);
        for (uint256 i = 0; i < signatures.length; ++i) {
            address signer = ECDSA.recoverCalldata(digest, signatures[i]);
            if (signer <= previous) revert SignersUnordered(signer);
            if (!_isVerifier[rosterEpoch][signer]) revert NotVerifier(signer);
            previous = signer;
        }
    }

    function _setRoster(address[] memory members, uint256 quorum_) private {
        // More than half: two quorums always share a verifier.
        if (members.length == 0 || members.length > MAX_ROSTER) revert BadRoster();
        if (quorum_ > members.length || quorum_ * 2 <= members.length) revert BadRoster();
        address previous = address(0);
        for (uint256 i = 0; i < members.length; ++i) {
            if (members[i] <= previous) revert BadRoster();
            previous = members[i];
            _isVerifier[rosterEpoch][members[i]] = true;
        }
        _roster = members;
        quorum = quorum_;
        emit RosterChanged(rosterEpoch, members, quorum_);
    }
}
