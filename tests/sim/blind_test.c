/* A build in which every checksum is the same number, so that every check of one passes: the crash tests must
 * notice. What stands here replaces libxxhash's functions in this program alone. */
#include "unplug.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <xxhash.h>

#include <cmocka.h>

XXH64_hash_t XXH3_64bits_withSeed(const void *data, size_t bytes, XXH64_hash_t seed)
{
    (void)data;
    (void)bytes;
    (void)seed;
    return 0x5eed;
}

XXH64_hash_t XXH3_64bits_digest(const XXH3_state_t *state)
{
    (void)state;
    return 0x5eed;
}

static void missing_checksums_are_noticed(void **state)
{
    const struct unplug_options options = {.steps = 150, .cuts = 2};
    struct unplug_result result;
    (void)state;
    for (uint64_t seed = 601; seed < 604; seed++)
        if (unplug_run(seed, &options, &result))
            fail_msg("seed %" PRIu64 " did not notice", seed);
    print_message("no checksums: %s\n", result.why);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_checksums_are_noticed),
    };
    return cmocka_run_group_tests_name("blind", tests, NULL, NULL);
}
