/*
 * The C interface of shim.h over Google Benchmark (1.7 and later).
 *
 * Every row is registered with manual time and a fixed number of iterations, so the library runs
 * its body once and reports once. Between the library and its reporters stands Rows: it gives each
 * report the row's own name (the library appends "/iterations:100/manual_time"), median, number of
 * samples and counters, and passes it on. Since the filter is to match names as they are shown, it
 * is applied here, before rows are registered, as the library does it: an extended regular
 * expression, matched anywhere, negated by a leading '-'.
 */
#include "bench/shim.h"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

struct shim_state {
    benchmark::State *state; // while the body runs
    bench_samples taken;
    std::map<std::string, double> counters;
};

namespace {

using benchmark::BenchmarkReporter;

std::map<std::string, shim_state> rows;
std::string out_format = "json";
bool has_filter, negated, has_display, has_list, has_file;
std::regex filter;

class Rows : public BenchmarkReporter {
  public:
    explicit Rows(std::vector<BenchmarkReporter *> to) : to_(to) {}

    bool ReportContext(const Context &context) override {
        bool run = true;
        for (BenchmarkReporter *reporter : to_)
            run = reporter->ReportContext(context) && run;
        return run;
    }

    // Repetitions have pooled their samples: the first report stands for them and their aggregates.
    void ReportRuns(const std::vector<Run> &reports) override {
        if (reports.empty() || !reported_.insert(reports.front().run_name.function_name).second)
            return;
        std::vector<Run> row = {reports.front()};
        set_row(row.front());
        for (BenchmarkReporter *reporter : to_)
            reporter->ReportRuns(row);
    }

    void Finalize() override {
        for (BenchmarkReporter *reporter : to_)
            reporter->Finalize();
    }

  private:
    static void set_row(Run &run) {
        const std::string name = run.run_name.function_name;
        const shim_state &row = rows[name];
        const bench_summary summary = summarize(&row.taken);
        run.run_name = benchmark::BenchmarkName();
        run.run_name.function_name = name;
        run.run_type = Run::RT_Iteration;
        run.aggregate_name.clear();
        run.repetitions = 1;
        run.repetition_index = 0;
        run.iterations = row.taken.count;
        run.real_accumulated_time = summary.median * row.taken.count;
        run.cpu_accumulated_time = summary.cpu_median * row.taken.count;
        for (const auto &counter : row.counters)
            run.counters[counter.first] = counter.second;
        if (row.taken.count > 0) {
            run.counters["samples"] = row.taken.count;
            run.counters["spread"] = summary.spread;
        }
    }

    std::vector<BenchmarkReporter *> to_;
    std::set<std::string> reported_;
};

// Rows for --benchmark_out: the library gives it the file to write to.
class FileRows : public Rows {
  public:
    explicit FileRows(BenchmarkReporter *format) : Rows({format}), format_(format) {}

    bool ReportContext(const Context &context) override {
        format_->SetOutputStream(&GetOutputStream());
        return Rows::ReportContext(context);
    }

  private:
    BenchmarkReporter *format_;
};

// The library's defaults for flags come from the environment: BENCHMARK_OUT for --benchmark_out.
std::string find_flag(int argc, char **argv, const char *name, const char *otherwise) {
    const std::string start = std::string("--benchmark_") + name;
    std::string variable = std::string("BENCHMARK_") + name;
    for (char &c : variable)
        c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    const char *set = std::getenv(variable.c_str());
    std::string value = set ? set : otherwise;
    for (int i = 1; i < argc; i++) {
        if (argv[i] == start)
            value = "true";
        else if (std::strncmp(argv[i], (start + "=").c_str(), start.size() + 1) == 0)
            value = argv[i] + start.size() + 1;
    }
    return value;
}

// Names as the library lists them, without the suffixes.
void print_list(const std::string &list) {
    std::istringstream lines(list);
    for (std::string line; std::getline(lines, line);)
        std::cout << line.substr(0, line.find("/iterations:")) << "\n";
}

} // namespace

bool shim_initialize(int *argc, char **argv, void (*help)(void)) {
    out_format = find_flag(*argc, argv, "out_format", "json");
    const std::string format = find_flag(*argc, argv, "format", "");
    const std::string list = find_flag(*argc, argv, "list_tests", "false");
    has_list = list == "true" || list == "1" || list == "yes" || list == "on";
    has_display = !format.empty();
    has_file = !find_flag(*argc, argv, "out", "").empty();
    benchmark::Initialize(argc, argv, help);
    if (format == "csv" || out_format == "csv") {
        std::cerr << "csv wants the same counters in every row, which ours don't have: take json\n";
        return false;
    }
    std::string pattern = benchmark::GetBenchmarkFilter();
    has_filter = !pattern.empty() && pattern != "all";
    negated = has_filter && pattern[0] == '-';
    try {
        filter.assign(pattern.substr(negated), std::regex::extended | std::regex::nosubs);
    } catch (const std::regex_error &) {
        std::cerr << "--benchmark_filter: \"" << pattern << "\" is no regular expression\n";
        return false;
    }
    return true;
}

void shim_print_help(void) {
    benchmark::PrintDefaultHelp();
}

bool shim_selects(const char *name) {
    return !has_filter || std::regex_search(name, filter) != negated;
}

bool shim_filters(void) {
    return has_filter;
}

bool shim_displays(void) {
    return has_display || has_list;
}

void shim_context(const char *key, const char *value) {
    benchmark::AddCustomContext(key, value);
}

void shim_register(const char *name, shim_body *body, void *row) {
    shim_state *own = &rows[name];
    benchmark::RegisterBenchmark(name,
                                 [own, body, row](benchmark::State &state) {
                                     own->state = &state;
                                     body(own, row);
                                     own->state = nullptr;
                                 })
        ->UseManualTime()
        ->Unit(benchmark::kMillisecond)
        ->Iterations(SAMPLES_MAX);
}

char *shim_run(void) {
    std::ostringstream text, list;
    benchmark::JSONReporter json;
    json.SetOutputStream(&text);
    std::vector<BenchmarkReporter *> display = {&json};
    std::unique_ptr<BenchmarkReporter> chosen;
    if (has_display) {
        chosen.reset(benchmark::CreateDefaultDisplayReporter());
        display.push_back(chosen.get());
    }
    Rows shown(display);
    shown.SetOutputStream(&list);

    std::unique_ptr<BenchmarkReporter> format;
    if (out_format == "console")
        format.reset(new benchmark::ConsoleReporter(benchmark::ConsoleReporter::OO_None));
    else
        format.reset(new benchmark::JSONReporter);
    FileRows file(format.get());

    benchmark::RunSpecifiedBenchmarks(&shown, has_file ? &file : nullptr, "all");
    print_list(list.str());
    benchmark::Shutdown();
    return text.str().empty() ? nullptr : strdup(text.str().c_str());
}

bool shim_next(shim_state *state) {
    return state->state->KeepRunning();
}

void shim_sample(shim_state *state, double seconds, double cpu_seconds) {
    state->state->SetIterationTime(seconds);
    bench_samples &taken = state->taken;
    if (taken.count == SAMPLES_MAX)
        return;
    taken.seconds[taken.count] = seconds;
    taken.cpu_seconds[taken.count++] = cpu_seconds;
}

bench_summary shim_summary(const shim_state *state) {
    return summarize(&state->taken);
}

void shim_counter(shim_state *state, const char *name, double value) {
    state->counters[name] = value;
}

void shim_skip(shim_state *state, const char *reason) {
    state->state->SkipWithError(reason);
}
