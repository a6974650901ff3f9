// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {TokenVault} from "./TokenVault.sol";

/// @title PaymentChannel
/// @notice A payer locks money for one payee and pays with signed vouchers, each for the whole sum so far. The
///         newest voucher is worth all before it; the payee brings it when it likes.
/// @dev A channel id is hash(chain, contract, payer, payee, salt) and never used again, so a voucher of a closed
///      channel is worth nothing for ever. The payer can ask to close; for the challenge period after that the
///      payee, or anybody for it (a watchtower), may still bring the newest voucher. Money only ever goes to the
///      two parties.
contract PaymentChannel is TokenVault, EIP712 {
    /// @dev Three slots. `payer` is zero if the channel was never opened; `closed` stays for good.
    struct Channel {
        address payer;
        uint64 closesAt;
        uint32 challengeS;
        address payee;
        bool closed;
        uint128 deposit;
        uint128 claimed;
    }

    /// @notice The least and longest challenge periods, in seconds.
    uint32 public constant MIN_CHALLENGE_S = 1 hours;
    /// @notice See MIN_CHALLENGE_S.
    uint32 public constant MAX_CHALLENGE_S = 30 days;

    /// @notice What a payer signs (EIP-712).
    bytes32 public constant VOUCHER_TYPEHASH = keccak256("Voucher(bytes32 channel,uint256 cumulative)");

    /// @notice `payer` locked `deposit` for `payee`.
    event Opened(
        bytes32 indexed id, address indexed payer, address indexed payee, uint256 deposit, uint32 challengeS
    );
    /// @notice The payer added `amount`; `deposit` is all it put in.
    event ToppedUp(bytes32 indexed id, uint256 amount, uint256 deposit);
    /// @notice The payee got `amount`; `cumulative` is all it got so far.
    event Claimed(bytes32 indexed id, uint256 amount, uint256 cumulative);
    /// @notice The payer wants to close. The newest voucher is taken until `closesAt`.
    event Closing(bytes32 indexed id, uint64 closesAt);
    /// @notice The channel is over: the payee got `claimed` in all, the payer `refunded`.
    event Closed(bytes32 indexed id, uint256 claimed, uint256 refunded);

    error ChannelExists(bytes32 id);
    error NoChannel(bytes32 id);
    error ChannelClosed(bytes32 id);
    error ChannelClosing(bytes32 id, uint64 closesAt);
    error ChallengeRuns(bytes32 id, uint64 closesAt);
    error BadChallengePeriod(uint32 seconds_);
    error NotPayer(address caller);
    error NotPayee(address caller);
    error SelfChannel();
    error StaleVoucher(uint256 cumulative, uint256 claimed);
    error ExceedsDeposit(uint256 cumulative, uint256 deposit);
    error BadSignature();

    // slither-disable-next-line uninitialized-state (a mapping, written through storage pointers)
    mapping(bytes32 id => Channel) private _channels;

    constructor(IERC20 token_) TokenVault(token_) EIP712("swarmd PaymentChannel", "1") {}

    /// @notice The id of the channel that `payer` opens for `payee` with `salt`.
    function idOf(address payer, address payee, bytes32 salt) public view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), payer, payee, salt));
    }

    /// @notice What is known of a channel; a zero payer means none was ever opened under this id.
    function channelOf(bytes32 id) external view returns (Channel memory) {
        return _channels[id];
    }

    /// @notice What the payer signs to have paid `cumulative` in all.
    function voucherDigest(bytes32 id, uint256 cumulative) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, id, cumulative)));
    }

    /// @notice Locks `amount` of the caller's for `payee`. A salt opens one channel, ever.
    /// @param challengeS How long the payee has to bring its newest voucher once the payer asks to close.
    function open(address payee, bytes32 salt, uint256 amount, uint32 challengeS)
        external
        nonReentrant
        returns (bytes32 id)
    {
        if (payee == address(0)) revert ZeroAddress();
        if (payee == msg.sender) revert SelfChannel();
        if (challengeS < MIN_CHALLENGE_S || challengeS > MAX_CHALLENGE_S) {
            revert BadChallengePeriod(challengeS);
        }
        id = idOf(msg.sender, payee, salt);
        Channel storage channel = _channels[id];
        if (channel.payer != address(0)) revert ChannelExists(id);
        channel.payer = msg.sender;
        channel.challengeS = challengeS;
        channel.payee = payee;
        channel.deposit = _checked(amount);
        emit Opened(id, msg.sender, payee, amount, challengeS);
        _take(amount);
    }

    /// @notice Adds `amount` to a channel of the caller's that is not closing.
    function topUp(bytes32 id, uint256 amount) external nonReentrant {
        Channel storage channel = _live(id);
        if (msg.sender != channel.payer) revert NotPayer(msg.sender);
        if (channel.closesAt != 0) revert ChannelClosing(id, channel.closesAt);
        channel.deposit = _checked(channel.deposit + uint256(_checked(amount)));
        emit ToppedUp(id, amount, channel.deposit);
        _take(amount);
    }

    /// @notice Pays the payee what a voucher is worth beyond what it got. Anybody may bring it.
    function claim(bytes32 id, uint256 cumulative, bytes calldata signature) external nonReentrant {
        Channel storage channel = _live(id);
        uint256 due = _redeem(id, channel, cumulative, signature);
        _give(channel.payee, due);
    }

    /// @notice The payer asks to close. Asking again changes nothing.
    function startClose(bytes32 id) external {
        Channel storage channel = _live(id);
        if (msg.sender != channel.payer) revert NotPayer(msg.sender);
        if (channel.closesAt != 0) return;
        uint64 closesAt = uint64(block.timestamp) + channel.challengeS;
        channel.closesAt = closesAt;
        emit Closing(id, closesAt);
    }

    /// @notice The challenge period is over: the payer gets the rest. Anybody may call.
    function finish(bytes32 id) external nonReentrant {
        Channel storage channel = _live(id);
        if (channel.closesAt == 0 || block.timestamp < channel.closesAt) {
            revert ChallengeRuns(id, channel.closesAt);
        }
        _close(id, channel);
    }

    /// @notice The payee ends the channel: it is paid its last voucher, the payer gets the rest at once.
    /// @param cumulative What it got already ends the channel without another voucher; `signature` is then ignored.
    function close(bytes32 id, uint256 cumulative, bytes calldata signature) external nonReentrant {
        Channel storage channel = _live(id);
        if (msg.sender != channel.payee) revert NotPayee(msg.sender);
        uint256 due = cumulative == channel.claimed ? 0 : _redeem(id, channel, cumulative, signature);
        address payee = channel.payee;
        _close(id, channel);
        if (due > 0) _give(payee, due);
    }

    function _live(bytes32 id) private view returns (Channel storage channel) {
        channel = _channels[id];
        if (channel.payer == address(0)) revert NoChannel(id);
        if (channel.closed) revert ChannelClosed(id);
    }

    function _redeem(bytes32 id, Channel storage channel, uint256 cumulative, bytes calldata signature)
        private
        returns (uint256 due)
    {
        uint256 claimed = channel.claimed;
        if (cumulative <= claimed) revert StaleVoucher(cumulative, claimed);
        if (cumulative > channel.deposit) revert ExceedsDeposit(cumulative, channel.deposit);
        bytes32 digest = voucherDigest(id, cumulative);
        if (!SignatureChecker.isValidSignatureNowCalldata(channel.payer, digest, signature)) {
            revert BadSignature();
        }
        channel.claimed = uint128(cumulative);
        due = cumulative - claimed;
        emit Claimed(id, due, cumulative);
    }

    function _close(bytes32 id, Channel storage channel) private {
        uint256 rest = channel.deposit - channel.claimed;
        channel.closed = true;
        emit Closed(id, channel.claimed, rest);
        if (rest > 0) _give(channel.payer, rest);
    }
}
