/* A sick disk: faults in the file calls of one process, for paths below a prefix.
 *
 * LAB_DISK_PREFIX names the directory, LAB_DISK_CONTROL a file of struct row, one for each kind of
 * call, which is mapped and may change at any time. What goes through mmap is not seen.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum call { OPEN, READ, WRITE, SYNC };
enum how { FAIL, TEAR, FLIP }; /* an error; half of a write and an error; a wrong bit, no error */
enum verdict { PASS, FAILED, TORN, FLIPPED };

struct row { /* error 0: no fault. per_million: share of calls. delay_us: each call, before it */
    int32_t error;
    uint32_t per_million, how, delay_us, calls, hits;
};

#define MAX_FD 65536
#define CONTROL_BYTES 4096
static struct row *rows;
static char prefix[PATH_MAX];
static size_t prefix_length;
static unsigned char watched[MAX_FD];
static __thread uint64_t dice;

static void *next_symbol(const char *name) { return dlsym(RTLD_NEXT, name); }
#define NEXT(type, name, ...) \
    static type (*next)(__VA_ARGS__); \
    if (!next) next = next_symbol(name)

__attribute__((constructor)) static void set_up(void) {
    const char *below = getenv("LAB_DISK_PREFIX"), *control = getenv("LAB_DISK_CONTROL");
    if (!below || !control || !realpath(below, prefix)) return;
    NEXT(int, "open", const char *, int, ...);
    int fd = next(control, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *mapped = mmap(NULL, CONTROL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED) return;
    prefix_length = strlen(prefix);
    rows = mapped;
}

static int is_below(const char *path) { /* the node under test opens by absolute path */
    return rows && path && !strncmp(path, prefix, prefix_length) &&
           (path[prefix_length] == '/' || !path[prefix_length]);
}

static int is_watched(int fd) { return rows && fd >= 0 && fd < MAX_FD && watched[fd]; }

static int watch(int fd, int below) {
    if (fd >= 0 && fd < MAX_FD) watched[fd] = (unsigned char)below;
    return fd;
}

static int happens(uint32_t per_million) {
    if (per_million >= 1000000) return 1;
    if (!dice) {
        const char *seed = getenv("LAB_DISK_SEED");
        dice = (seed ? strtoull(seed, NULL, 10) : 1) * 0x9E3779B97F4A7C15ull + 1;
    }
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return dice % 1000000 < per_million;
}

static enum verdict judge(enum call call) {
    struct row *row = rows + call;
    __atomic_fetch_add(&row->calls, 1, __ATOMIC_RELAXED);
    if (row->delay_us) {
        usleep(row->delay_us);
        __atomic_fetch_add(&row->hits, 1, __ATOMIC_RELAXED);
    }
    if (!row->error || !happens(row->per_million)) return PASS;
    __atomic_fetch_add(&row->hits, 1, __ATOMIC_RELAXED);
    errno = row->error;
    return row->how == TEAR ? TORN : row->how == FLIP ? FLIPPED : FAILED;
}

static ssize_t flip(void *bytes, ssize_t count) {
    if (count > 0) ((unsigned char *)bytes)[count / 2] ^= 1;
    return count;
}

#define OPENER(name) \
    int name(const char *path, int flags, ...) { \
        NEXT(int, #name, const char *, int, ...); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        int below = is_below(path); \
        if (below && judge(OPEN) != PASS) return -1; \
        return watch(next(path, flags, mode), below); \
    }
OPENER(open)
OPENER(open64)

int close(int fd) {
    NEXT(int, "close", int);
    watch(fd, 0);
    return next(fd);
}

ssize_t read(int fd, void *to, size_t size) {
    NEXT(ssize_t, "read", int, void *, size_t);
    enum verdict verdict = is_watched(fd) ? judge(READ) : PASS;
    if (verdict == FAILED || verdict == TORN) return -1;
    ssize_t count = next(fd, to, size);
    return verdict == FLIPPED ? flip(to, count) : count;
}

ssize_t write(int fd, const void *from, size_t size) {
    NEXT(ssize_t, "write", int, const void *, size_t);
    enum verdict verdict = is_watched(fd) ? judge(WRITE) : PASS;
    if (verdict == PASS) return next(fd, from, size);
    int error = errno;
    if (verdict == TORN && next(fd, from, size / 2) < 0) return -1;
    errno = error;
    return -1;
}

#define READER(name, offset) \
    ssize_t name(int fd, void *to, size_t size, offset at) { \
        NEXT(ssize_t, #name, int, void *, size_t, offset); \
        enum verdict verdict = is_watched(fd) ? judge(READ) : PASS; \
        if (verdict == FAILED || verdict == TORN) return -1; \
        ssize_t count = next(fd, to, size, at); \
        return verdict == FLIPPED ? flip(to, count) : count; \
    }
READER(pread, off_t)
READER(pread64, off64_t)

#define WRITER(name, offset) \
    ssize_t name(int fd, const void *from, size_t size, offset at) { \
        NEXT(ssize_t, #name, int, const void *, size_t, offset); \
        enum verdict verdict = is_watched(fd) ? judge(WRITE) : PASS; \
        if (verdict == PASS) return next(fd, from, size, at); \
        int error = errno; \
        if (verdict == TORN && next(fd, from, size / 2, at) < 0) return -1; \
        errno = error; \
        return -1; \
    }
WRITER(pwrite, off_t)
WRITER(pwrite64, off64_t)

#define SYNCER(name) \
    int name(int fd) { \
        NEXT(int, #name, int); \
        if (is_watched(fd) && judge(SYNC) != PASS) return -1; \
        return next(fd); \
    }
SYNCER(fsync)
SYNCER(fdatasync)
