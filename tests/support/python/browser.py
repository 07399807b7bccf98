"""Debian's Chromium without a screen, driven by Selenium."""

import json
import tempfile

from patience import patience
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service


class Browser:
    """A window of the size, which prefers light or dark pages. Its profile is gone with it."""

    def __init__(self, width=1280, height=900, dark=False, scale=1):
        self._profile = tempfile.TemporaryDirectory(prefix="vmw-")
        options = Options()
        options.binary_location = "/usr/bin/chromium"
        for argument in ("headless=new", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "no-first-run",
                         "hide-scrollbars", f"user-data-dir={self._profile.name}",
                         f"force-device-scale-factor={scale}"):
            options.add_argument("--" + argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(service=Service("/usr/bin/chromedriver"), options=options)
        self.look(width, height, dark, scale)
        self.driver.set_script_timeout(patience())

    def look(self, width, height, dark=False, scale=1):
        self.command("Emulation.setDeviceMetricsOverride",
                     {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False})
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", {"features": [scheme]})

    def command(self, name, arguments):
        return self.driver.execute_cdp_cmd(name, arguments)

    def run(self, script, *arguments):
        """The value of a function's body in the page."""
        return self.driver.execute_script(script, *arguments)

    def text(self, selector="body"):
        return self.run("const e = document.querySelector(arguments[0]); return e ? e.innerText : ''", selector)

    def texts(self, selector):
        return self.run("return [...document.querySelectorAll(arguments[0])].map((e) => e.innerText)", selector)

    def complaints(self):
        """Warnings and errors of the console since the last call, violations of the page's policy among them."""
        return [json.dumps(entry) for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def close(self):
        self.driver.quit()
        self._profile.cleanup()
