/* Columns of text, as wide as their widest cell; numbers stand on the right. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include <stddef.h>

struct table {
    const char *const *heads; /* a head that starts with '>' (not shown) means: on the right */
    size_t columns;
    char **cells; /* row by row */
    size_t count, room;
};

/* One cell, from left to right, then the next row. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints to stdout and releases the cells. -ENOMEM when cells were lost. */
int table_print(struct table *table);

#endif
