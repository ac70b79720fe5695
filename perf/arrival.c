/*
 * The delays come from a mixing function of turn and rank (splitmix64, Steele, Lea, Flood 2014),
 * not from a generator with state: ranks may skip turns.
 */
#include "perf/arrival.h"

#include "perf/timing.h"

#define LINE 64

static uint64_t mix(uint64_t z)
{
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double perf_arrival_delay(long turn, int rank, double most)
{
    const uint64_t bits = mix(mix((uint64_t)turn) ^ (uint64_t)rank) >> 11;

    return most * (double)bits / (double)(UINT64_C(1) << 53);
}

double perf_arrival_last(long turn, int ranks, double most)
{
    double last = 0.0;

    for (int r = 0; r < ranks; r++) {
        const double delay = perf_arrival_delay(turn, r, most);

        last = delay > last ? delay : last;
    }
    return last;
}

void perf_work(double ns, unsigned char *memory, size_t size)
{
    const int64_t until = perf_now() + (int64_t)ns;
    size_t at = 0;

    do {
        for (int i = 0; i < 32; i++) {
            memory[at] = (unsigned char)(memory[at] + 1);
            at = at + LINE < size ? at + LINE : 0;
        }
    } while (perf_now() < until);
}
