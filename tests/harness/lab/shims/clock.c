/* A wall clock that is wrong by as many seconds as LAB_CLOCK_CONTROL says, a mapped file that holds
 * one double and may change at any time. The monotonic clock and all waits are left alone.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_BYTES 4096
#define NS_PER_S 1000000000ll
static const volatile double *offset_s;
static int (*next_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void set_up(void) {
    next_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    const char *control = getenv("LAB_CLOCK_CONTROL");
    int fd = control ? open(control, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *mapped = mmap(NULL, CONTROL_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED) offset_s = mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!next_gettime) next_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = next_gettime(clock, now);
    if (failed || !offset_s || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE))
        return failed;
    long long ns = now->tv_sec * NS_PER_S + now->tv_nsec + (long long)(*offset_s * NS_PER_S);
    now->tv_sec = ns / NS_PER_S;
    now->tv_nsec = ns % NS_PER_S;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (out) *out = exact.tv_sec;
    return exact.tv_sec;
}
