// Requests for decoder tests, and a loop that decodes them all.
#pragma once

#include "engine/models/chatterbox/decoder.h"

#include <map>
#include <vector>

namespace audiobookd::tests {

using Tokens = std::map<engine::UtteranceId, std::vector<std::int32_t>>;

/// Requests of various lengths and parameters; ids are 0, 1, …; five of six have forced lengths.
std::vector<engine::chatterbox::DecodeRequest> random_requests(int count, unsigned seed);

/// Decodes @p requests in their order of arrival, refilling places as they become free.
Tokens decode_all(engine::chatterbox::Decoder& decoder, const std::vector<engine::chatterbox::DecodeRequest>& requests);

/// Decodes 40 requests one at a time and then in three random orders of arrival: the tokens must be equal to the bit.
void expect_same_tokens_in_any_company(engine::chatterbox::Decoder& decoder);

/// @p decoder has three places, one of them reserved: an urgent request enters a batch that is full for all others, and
/// steps limited to one utterance serve it alone. Nobody's tokens change by that.
void expect_urgent_requests_go_first(engine::chatterbox::Decoder& decoder);

} // namespace audiobookd::tests
