/* Names of partitions and doors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "name.h"

static void reads_partitions(void **state)
{
    unsigned number = 99;

    (void)state;
    assert_int_equal(tfs_name_parse("0", &number), TFS_NAME_PARTITION);
    assert_int_equal(number, 0);
    assert_int_equal(tfs_name_parse("1023", &number), TFS_NAME_PARTITION);
    assert_int_equal(number, 1023);
}

static void reads_doors(void **state)
{
    unsigned number = 99;

    (void)state;
    assert_int_equal(tfs_name_parse("7@append", &number), TFS_NAME_DOOR);
    assert_int_equal(number, 7);
}

static void refuses_all_else(void **state)
{
    static const char *const names[] = {"",      "00",        "03",        "-1",         "+1",        " 1",
                                        "1 ",    "1x",        "x1",        "a.txt",      "@append",   "0@",
                                        "0@end", "01@append", "0@append2", "9999999999", "4294967296"};
    unsigned number = 99;

    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tfs_name_parse(names[i], &number) != TFS_NAME_OTHER)
            fail_msg("\"%s\" was taken", names[i]);
    assert_int_equal(number, 99);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_partitions),
        cmocka_unit_test(reads_doors),
        cmocka_unit_test(refuses_all_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
