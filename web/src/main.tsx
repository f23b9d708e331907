import { render } from "preact";
import { App } from "./components/App";
import { connect } from "./state/server";
import "./style/base.css";
import "./style/layout.css";
import "./style/controls.css";
import "./style/plots.css";
import "./style/answers.css";

render(<App />, document.getElementById("app")!);
void connect();
