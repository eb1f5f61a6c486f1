"""Drive Firefox (by Marionette) or WebKitGTK (by WebDriver) for benchmarks/engines.py: `run_engines.py firefox`. First a line with the version; then, for each line
of JSON with an address and functions [[source, argument], …], a line with what they returned in that page."""

import glob
import json
import os
import shutil
import sys

CALL = "const done = arguments[arguments.length - 1]; Promise.resolve(({source})(arguments[0])).then(done)"


def firefox():
    "Open an address, run a script, quit; and the version."
    from marionette_driver.marionette import Marionette

    browser = Marionette(
        bin=shutil.which("firefox-esr") or shutil.which("firefox"),
        headless=True,
        gecko_log=os.devnull,
    )
    browser.start_session()
    browser.timeout.script = 60
    run = lambda source, argument: browser.execute_async_script(
        CALL.replace("{source}", source), script_args=[argument]
    )
    return (
        browser.navigate,
        run,
        browser.quit,
        f"Firefox {browser.session_capabilities['browserVersion']}",
    )


def webkit():
    "As `firefox`."
    from selenium import webdriver
    from selenium.webdriver.webkitgtk.service import Service

    options = webdriver.WebKitGTKOptions()
    options.binary_location = glob.glob("/usr/lib/*/webkit2gtk-4*/MiniBrowser")[0]
    options.add_argument("--automation")
    browser = webdriver.WebKitGTK(
        options=options, service=Service(shutil.which("WebKitWebDriver"))
    )
    browser.set_script_timeout(60)
    run = lambda source, argument: browser.execute_async_script(
        CALL.replace("{source}", source), argument
    )
    return (
        browser.get,
        run,
        browser.quit,
        f"WebKitGTK {browser.capabilities['browserVersion']}",
    )


if __name__ == "__main__":
    go, run, leave, version = {"firefox": firefox, "webkit": webkit}[sys.argv[1]]()
    print(json.dumps(version), flush=True)
    try:
        for line in sys.stdin:
            address, functions = json.loads(line)
            go(address)
            print(
                json.dumps([run(source, argument) for source, argument in functions]),
                flush=True,
            )
    finally:
        leave()
